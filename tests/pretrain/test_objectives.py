"""Objectives against oracles on a small network, and each of them learned for a few steps."""

from pathlib import Path

import pytest
import torch
import yaml
from toy_objectives import END, MASK, batch, network, train
from transformers import AutoModelForCausalLM, AutoTokenizer

from lit_unmask.denoisers import CausalQwen2, Dream, LLaDA
from lit_unmask.policies import LowConfidence
from lit_unmask.pretrain import DreamVocabulary, LitPretrain
from lit_unmask.pretrain.cli import main
from lit_unmask.pretrain.objectives import (
    CARD,
    GIDD,
    Autoregressive,
    ComplementaryMasks,
    MaskedDiffusion,
    MaskedProSeCo,
    ProSeCo,
)
from lit_unmask.pretrain.objectives.masks import draw_windows, mask_window, stratified_times
from lit_unmask.rollout import Decoding, Noise, rollout
from lit_unmask.tasks import ShoppingSums

CONFIGS = Path(__file__).parents[2] / "configs" / "pretrain"
OBJECTIVES = [
    MaskedDiffusion(),
    MaskedDiffusion(masks=ComplementaryMasks()),
    Autoregressive(),
    ProSeCo(),
    MaskedProSeCo(bounded=True),
    GIDD(),
    CARD(),
]


def log_probabilities(net, prompt, attention, response):
    """Return what one row's network says, ``[L, V]``, by the stock class alone."""
    tokens = torch.cat([prompt, response])[None]
    seen = torch.cat([attention, torch.ones(len(response), dtype=torch.bool)])[None]
    logits = net.stock(input_ids=tokens, attention_mask=seen).logits[0]
    first = len(prompt) - int(net.shift)
    return logits[first : first + len(response)].log_softmax(-1)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: str(one)[:40])
def test_a_network_learns_a_batch(objective):
    family = CausalQwen2 if objective.causal else Dream
    losses = train(objective, network(family), batch())
    assert losses[-1] < 0.9 * losses[0] and all(loss == loss for loss in losses)


@pytest.mark.parametrize("family", [LLaDA, Dream])
def test_masked_diffusion_is_the_weighted_entropy_of_what_is_masked(family):
    net, data = network(family, synonyms=[(1, 2, 3)]), batch()
    torch.manual_seed(5)
    found = MaskedDiffusion().loss(data, net)
    torch.manual_seed(5)
    clean = data.response
    window = draw_windows(10, (clean != END).sum(1) + 1, 0.5)
    noisy, weight = mask_window(clean, window, stratified_times(4), MASK)
    expected = torch.zeros(())
    for row in range(4):
        prompt = data.prompt
        said = log_probabilities(net, prompt.tokens[row], prompt.attention[row], noisy[row])
        for place in range(10):
            token = int(clean[row, place])
            mean = said[place, token]
            if token in (1, 2, 3):  # 1/3, 1/4 and 1/5, scaled
                mean = said[place, [1, 2, 3]] @ torch.tensor([20 / 47, 15 / 47, 12 / 47])
            expected = expected - weight[row, place] * mean / 4
    torch.testing.assert_close(found, expected)


def test_blocks_come_after_the_first_share_of_the_training():
    data = batch(rows=64, length=40)
    noised = [
        MaskedDiffusion(block_share=1.0, whole_share=share).noise(data, network())[0]
        for share in (0.6, 0.5)
    ]
    # As a whole, all that is masked is asked for; behind a block are masks that are not.
    behind = [((one.tokens == MASK) & (one.weight == 0)).any() for one in noised]
    assert behind == [False, True]


@pytest.mark.parametrize("kind", [ProSeCo, MaskedProSeCo])
@pytest.mark.parametrize("bounded", [False, True])
def test_the_corrector_learns_the_clean_text_from_what_the_network_proposes(kind, bounded):
    net, data = network(LLaDA), batch()
    train(Autoregressive(), net, data, steps=20)  # LLaDA then knows each token that it reads
    objective = kind(corrector_weight=0.5, bounded=bounded)
    torch.manual_seed(3)
    found = objective.loss(data, net)
    torch.manual_seed(3)
    expected = MaskedDiffusion(least=0.1).loss(data, net)
    torch.manual_seed(3)
    noisy = MaskedDiffusion(least=0.1).noise(data, net)[0].tokens
    right = 0
    for row in range(4):
        prompt = (data.prompt.tokens[row], data.prompt.attention[row])
        proposed = log_probabilities(net, *prompt, noisy[row])
        proposed[:, MASK] = -torch.inf
        text = proposed.argmax(-1)
        if kind is MaskedProSeCo:
            text = torch.where(noisy[row] == MASK, text, noisy[row])
        said = log_probabilities(net, *prompt, text)
        for place in range(10):
            log_p, same = (
                said[place, data.response[row, place]],
                text[place] == data.response[row, place],
            )
            right += int(same)
            share = (noisy[row] == MASK).float().sum()
            expected = expected + 0.5 * (-log_p.exp() if same and bounded else -log_p) / share / 4
    assert 0 < right < 40
    torch.testing.assert_close(found, expected)


def test_the_corrector_reads_no_mask_and_its_text_has_no_gradient():
    net, data = network(LLaDA), batch()
    read = []
    net.stock.model.register_forward_pre_hook(
        lambda module, args, named: read.append(named["input_ids"]), with_kwargs=True
    )
    with torch.no_grad():
        net.stock.lm_head.weight[MASK] = 100 * net.stock.lm_head.weight.abs().max()
    ProSeCo().loss(data, net).backward()
    assert [bool((tokens == MASK).any()) for tokens in read] == [True, False]


@pytest.mark.parametrize("setting", [{"block_share": 1.5}, {"whole_share": -1}, {"least": 1.0}])
def test_shares_outside_their_range_are_refused(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))}=.* must lie in"):
        MaskedDiffusion(**setting)


def test_the_next_token_is_predicted_from_what_is_before_it():
    net, data = network(CausalQwen2, synonyms=[(1, 2, 3)]), batch()
    expected = torch.zeros(())
    for row in range(4):
        for place in range(10):
            # What stands here and behind is not even there.
            before, token = data.response[row, :place], int(data.response[row, place])
            prompt = torch.cat([data.prompt.tokens[row][data.prompt.attention[row]], before])
            said = net.stock(input_ids=prompt[None]).logits[0, -1].log_softmax(-1)
            mean = said[token]
            if token in (1, 2, 3):  # 1/3, 1/4 and 1/5, scaled
                mean = said[[1, 2, 3]] @ torch.tensor([20 / 47, 15 / 47, 12 / 47])
            expected = expected - mean / 40
    torch.testing.assert_close(Autoregressive().loss(data, net), expected)


def test_an_objective_for_causal_networks_refuses_one_that_looks_ahead():
    for denoiser in (LLaDA, Dream):
        with pytest.raises(ValueError, match=r"Autoregressive teaches .*; set model.denoiser"):
            LitPretrain(denoiser, DreamVocabulary(), objective=Autoregressive())
    LitPretrain(CausalQwen2, DreamVocabulary(), objective=Autoregressive())


def test_a_causal_model_is_trained_from_yaml_and_loaded_by_transformers(tmp_path, monkeypatch):
    config = yaml.safe_load((CONFIGS / "tiny_autoregressive.yaml").read_text())
    export = config["trainer"]["callbacks"][-1]
    export["init_args"] = {"folder": str(tmp_path / "model"), "test": {}}
    config["extends"] = str(CONFIGS / config["extends"])
    config["trainer"] |= {
        **{"callbacks": [export], "logger": False, "enable_progress_bar": False},
        **{"max_steps": 4, "limit_val_batches": 0, "enable_checkpointing": False},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config=config.yaml", "--model.size.width=16", "--model.size.layers=1"])
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    ours = CausalQwen2(str(tmp_path / "model"))
    assert type(plain).__name__ == "Qwen2ForCausalLM" and len(tokenizer) == ours.vocab_size
    prompt = ours.encode([ShoppingSums("test", 1)[0]])
    written = prompt.tokens
    for _ in range(6):
        logits = plain(written).logits[:, -1]
        logits[:, ours.mask_id] = -torch.inf
        written = torch.cat([written, logits.argmax(-1, keepdim=True)], 1)
    decoded = rollout(
        ours, LowConfidence(1), prompt, Decoding(6, 1), Noise(0, torch.zeros(1).long())
    )
    assert torch.equal(decoded.response, written[:, -6:])
    scores = plain(written).logits[:, -7:-1]
    scores[..., ours.mask_id] = -torch.inf
    torch.testing.assert_close(ours.logits(prompt, decoded.response), scores)


@pytest.mark.parametrize(
    ("config", "name", "given"),
    [("proseco", "least", "corrector_weight=2.0"), ("gidd", "weights", "weights=BoundWeights")],
)
def test_settings_that_are_not_given_are_the_defaults_of_the_class(config, name, given, capsys):
    given = f"--model.objective.init_args.{given}"
    with pytest.raises(SystemExit):
        main(["fit", f"--config={CONFIGS / config}.yaml", given, "--print_config"])
    said = yaml.safe_load(capsys.readouterr().out)["model"]["objective"]["init_args"]
    found = said[name] if name == "least" else said[name]["init_args"]["most"]
    assert found == {"least": 0.1, "weights": float("inf")}[name]
