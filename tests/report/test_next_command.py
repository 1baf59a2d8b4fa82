"""The command that a script tells at its end."""

import shlex

from utils.report.next_command import tell_use


def test_a_model_in_a_folder_can_be_used_at_once(tmp_path, capsys):
    folder = tmp_path / "run of it" / "best"
    folder.mkdir(parents=True)
    tell_use(str(folder))
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert command[:4] == ["python", "transcribe.py", "--model", str(folder)]
    tell_use("openai/whisper-base")
    assert not capsys.readouterr().out
