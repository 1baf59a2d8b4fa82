"""Which inputs are the same as before."""

from pathlib import Path

from utils.evaluation.evaluation_folder import describe_inputs


def test_own_report_and_caches_do_not_count_as_another_model(tmp_path):
    def describe(output_dir: Path) -> dict[str, str]:
        return describe_inputs([str(model), "openai/whisper-base", str(tmp_path / "data")], output_dir)

    model = tmp_path / "run/best"
    for folder in (model, tmp_path / "data"):
        folder.mkdir(parents=True)
        (folder / "weights").touch()
    for output_dir in (model / "report", model, tmp_path / "run"):
        before = describe(output_dir)
        for own in (output_dir / "predictions.jsonl", output_dir / "plots/wer.png", model / "cache-1.arrow"):
            own.parent.mkdir(parents=True, exist_ok=True)
            own.touch()
        assert describe(output_dir) == before
        (model / "weights").write_bytes(b"x" * (1 + len(output_dir.parts)))
        assert {name for name, of in describe(output_dir).items() if of != before[name]} == {str(model)}
    assert before["openai/whisper-base"] == ""
