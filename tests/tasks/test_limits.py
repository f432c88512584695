"""Prompts that are too long are left out of training and counted, and never cut."""

from dataclasses import replace

import pytest
from toys import Coins, make_data, make_module, make_trainer

from lit_unmask.errors import ConfigurationError
from lit_unmask.preflight.checks import check, check_denoiser
from lit_unmask.tasks import MATH500, ShoppingSums
from lit_unmask.tasks.limits import ShortPrompts, prompt_lengths


def shopping(size=40):
    return ShoppingSums("train", size, steps=(1, 6))


def test_lengths_are_those_of_the_prompts_that_the_denoiser_sees(tiny_llada):
    problems = shopping(300)
    lengths = prompt_lengths(problems, tiny_llada)
    alone = [tiny_llada.encode([problem]).tokens.shape[1] for problem in list(problems)[:20]]
    assert lengths[:20] == alone and len(lengths) == 300 and len(set(lengths)) > 3


def test_short_prompts_stay_whole_and_in_order(tiny_llada):
    problems = shopping()
    lengths = prompt_lengths(problems, tiny_llada)
    limit = sorted(lengths)[20]
    kept = ShortPrompts(problems, tiny_llada, limit)
    wanted = [p for p, length in zip(problems, lengths, strict=True) if length <= limit]
    assert [p.messages for p in kept] == [p.messages for p in wanted]
    assert kept.left_out == len(problems) - len(kept) > 0 and kept.longest == max(lengths)
    assert ShortPrompts(problems, tiny_llada, max(lengths)).left_out == 0


def test_a_limit_that_no_prompt_keeps_is_refused(tiny_llada):
    with pytest.raises(ConfigurationError, match=r"=3 leaves out all 40 .* have \d+ tokens"):
        ShortPrompts(shopping(), tiny_llada, 3)


def test_training_is_limited_once_and_said_so_and_evaluation_is_not(tiny_llada, tmp_path):
    limit = sorted(prompt_lengths(shopping(), tiny_llada))[20]
    data = make_data(train=shopping(), max_prompt_tokens=limit)
    trainer = make_trainer(tmp_path)
    model = make_module(tiny_llada)
    with pytest.warns(UserWarning, match=rf"{limit} leaves out \d+ of 40 training problems"):
        check_denoiser("fit", trainer, model, data)
    assert data.left_out and len(data.train) == 40 - data.left_out
    assert (len(data.val["coins"]), len(data.test["coins"])) == (5, 5)
    limited = data.train
    data.limit_prompts(tiny_llada)
    assert data.train is limited


def test_a_run_without_the_command_line_is_limited_too(tiny_llada, tmp_path):
    steps = (1, 6)
    limit = sorted(prompt_lengths(Coins("train", 10, steps=steps), tiny_llada))[5]
    data = make_data(train=Coins("train", 10, steps=steps), max_prompt_tokens=limit)
    with pytest.warns(UserWarning, match="leaves out"):
        make_trainer(tmp_path, max_steps=1).fit(make_module(tiny_llada), data)
    assert data.left_out and max(prompt_lengths(data.train, tiny_llada)) <= limit
    plain = make_data()
    make_trainer(tmp_path, max_steps=1).fit(make_module(tiny_llada), plain)
    assert plain.left_out is None and len(plain.train) == 10


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="max_prompt_tokens=0 must be at least 1"):
        make_data(max_prompt_tokens=0)


def test_a_prompt_that_is_too_long_is_found_wherever_it_stands(tiny_llada, tmp_path):
    class LastIsLong(ShoppingSums):
        def __getitem__(self, index):
            problem = super().__getitem__(index)
            if index < len(self) - 1:
                return problem
            return replace(problem, messages=({"role": "user", "content": "fig " * 200},))

    data = make_data(test={"long": LastIsLong("test", 300)})
    with pytest.raises(ValueError, match="exceeds"):
        check_denoiser("test", make_trainer(tmp_path), make_module(tiny_llada), data)


def test_problems_that_cannot_be_read_stop_a_run_before_any_work(tiny_llada, tmp_path):
    missing = MATH500(path=str(tmp_path / "missing.jsonl"))
    data = make_data(test={"math500": missing})
    with pytest.raises(ConfigurationError, match=r"data\.test\.math500: path=.*missing\.jsonl"):
        check("fit", make_trainer(tmp_path), make_module(tiny_llada), data)
    check("validate", make_trainer(tmp_path), make_module(tiny_llada), data)
