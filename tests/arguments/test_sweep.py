"""The grid of a sweep: which runs it has, and what is refused before any training."""

import pytest
import yaml

from utils.arguments.parsing import parse_arguments
from utils.arguments.sweep import SweepArguments, plan_runs
from utils.runtime.errors import UserError


@pytest.fixture
def plan(tmp_path):
    """A function from words of the grid, and values of the recipe, to the runs."""

    def plan(*grid: str, more: str = "", **values):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(yaml.safe_dump({"model_name_or_path": "m", "dataset": ["d"]} | values))
        words = ["--recipe", str(recipe), "--grid", *grid, "--output_dir", "out", *more.split()]
        return plan_runs(parse_arguments(SweepArguments, words))

    return plan


def test_each_combination_is_a_run_with_a_folder_of_its_own(plan):
    runs = plan("learning_rate=1e-5,2e-5", "MAX_STEPS=10 20", weight_decay=0.5)
    assert [(run.arguments.learning_rate, run.arguments.max_steps) for run in runs] == [
        *((1e-5, 10), (1e-5, 20), (2e-5, 10), (2e-5, 20))
    ]
    assert {run.arguments.weight_decay for run in runs} == {0.5}
    assert str(runs[1].folder) == runs[1].arguments.output_dir == "out/learning_rate=1e-5,max_steps=20"
    assert runs[1].name == "learning_rate 1e-5, max_steps 20"
    assert runs[1].words[2:6] == ["--learning_rate", "1e-5", "--max_steps", "20"]


def test_commas_part_values_that_have_spaces(plan):
    runs = plan("context_jitter=0, 0 0 1 2", "use_peft=true,false", "model_name_or_path=a/b,a/c")
    assert [run.arguments.context_jitter for run in runs][::4] == [[0.0], [0.0, 0.0, 1.0, 2.0]]
    assert [run.arguments.use_peft for run in runs][:4] == [True, True, False, False]
    assert runs[-1].folder.name == "context_jitter=0-0-1-2,use_peft=false,model_name_or_path=a-c"


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("learning_rate", "expected a flag and values, such as learning_rate=1e-5,2e-5"),
        ("learning_rate=", "expected a flag and values"),
        ("learning_rate=1e-5,,2e-5", "expected a flag and values"),
        ("learning_rat=1e-5", "unknown argument 'learning_rat'. Did you mean 'learning_rate'?"),
        ("output_dir=a,b", "grid output_dir: it must be the same for all runs"),
        ("normalizer=basic,english", "grid normalizer: it must be the same"),
        ("learning_rate=1e-5,1e-5", "more than once"),
        ("seed=1 Seed=2", "more than once"),
        ("learning_rate=1e-5,fast", "learning_rate fast: argument --learning_rate: invalid float value"),
        (
            "learning_rate=1e-5,-1 max_steps=5",
            "learning_rate -1, max_steps 5: learning_rate -1.0: expected at",
        ),
        ("eval_steps=0,10", "eval_steps 0: eval_steps 0. A sweep needs evaluations"),
    ],
)
def test_mistakes_are_told_before_any_training(plan, grid, message):
    with pytest.raises(UserError) as error:
        plan(*grid.split())
    assert message in str(error.value)


def test_a_configuration_that_is_not_there_is_told(plan):
    with pytest.raises(UserError, match="accelerate_config tpu: no such file"):
        plan("seed=1,2", more="--accelerate_config tpu")
