"""The door of the library: agents trained, kept, loaded, evaluated, and at play in environments of the user's own."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from hare_tortoise.lab import files
from hare_tortoise.lab.job import StoppedError
from hare_tortoise.lab.training import DivergedError
from hare_tortoise.rl import Agent, evaluate, find_agent, load, train
from hare_tortoise.rl.agent import build_agent
from hare_tortoise.rl.building import build_training
from hare_tortoise.rl.door import JUDGING
from hare_tortoise.rl.interface import Space
from hare_tortoise.rl.minatar import MinAtar
from hare_tortoise.rl.stage import padded, stage_of
from hare_tortoise.rl.trial import AgentTrial

SHORT: dict[str, Any] = {"steps": 300, "warm_up": 100}
WALK, LIMITED, PICTURE = (f"tests.rl.own_games:{name}" for name in ("walk", "limited", "picture"))
PAIR = "hare_tortoise( decay=0.90, reset_every=60)"
TWO = ("minatar:asterix", "minatar:breakout")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Agent]:
    out = tmp_path_factory.mktemp("door")
    return out, train(env="CartPole-v1", seed=3, method=PAIR, out=out, **SHORT)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Agent]:
    out = tmp_path_factory.mktemp("two")
    return out, train(env=TWO, out=out, hidden=8, replay_ratio=0.1, **SHORT)


def folder_of(out: Path) -> Path:
    (folder,) = (out / "runs").iterdir()
    return folder


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def greedy(agent: Agent, *observations: Any) -> int:
    """What the network that plays values most, of a stack of observations."""
    stacked = torch.stack([torch.as_tensor(np.array(each)) for each in observations]).float()
    with torch.no_grad():
        return int(agent.deployed.eval()(stacked.reshape(1, *agent.shape))[0].argmax())


def seen_by(agent: Agent) -> list[Tensor]:
    """What the deployed network is shown from now on."""
    shown: list[Tensor] = []
    agent.deployed.register_forward_pre_hook(lambda _, given: shown.append(given[0].clone()))
    return shown


def test_what_is_trained_is_what_the_training_ends_with(kept: tuple[Path, Agent]) -> None:
    recipe = find_agent("vector").replace(**SHORT)
    method = "hare-tortoise(decay=0.9, reset_every=60)"
    training = build_training(AgentTrial(recipe, ("CartPole-v1",), method, 3, JUDGING))
    while not training.done:
        training.advance()
    _, agent = kept
    (expected,) = training.agents
    assert same(agent.online, expected.online)
    assert same(agent.target, expected.target)
    assert not same(agent.online, agent.target)
    assert agent.games == ("CartPole-v1",)
    assert agent.recipe == recipe


def test_a_run_is_kept_and_loaded(kept: tuple[Path, Agent]) -> None:
    out, agent = kept
    for path in (out, folder_of(out), str(folder_of(out))):
        found = load(path)
        assert same(found.online, agent.online)
        assert same(found.deployed, agent.deployed)
    found = Agent.load(folder_of(out))
    assert (found.games, found.recipe.name) == (("CartPole-v1",), "vector(warm_up=100, steps=300)")
    assert found.recipe.to_json() == agent.recipe.to_json()


def test_the_evaluation_is_that_of_the_run(kept: tuple[Path, Agent]) -> None:
    out, agent = kept
    metrics = files.read_json(folder_of(out) / "metrics.json")
    (judged,) = metrics["rows"][-1]["evaluations"].values()
    assert evaluate(agent, JUDGING.episodes, seed=3) == judged
    assert len(evaluate(agent, episodes=2)) == 2


def test_a_finished_run_is_only_read(kept: tuple[Path, Agent]) -> None:
    out, agent = kept
    before = {path: path.stat().st_mtime_ns for path in folder_of(out).glob("*.*")}
    again = train(env="CartPole-v1", seed=3, method=PAIR, out=out, **SHORT)
    assert {path: path.stat().st_mtime_ns for path in folder_of(out).glob("*.*")} == before
    assert {path.name for path in before} == {"trial.json", "metrics.json", "checkpoint.safetensors"}
    assert same(again.online, agent.online)


def test_an_interrupted_run_goes_on(kept: tuple[Path, Agent], tmp_path: Path) -> None:
    told = []

    def stop(moment: Any) -> bool:
        told.append(moment.done)
        return True

    with pytest.raises(StoppedError):
        train(env="CartPole-v1", seed=3, method=PAIR, out=tmp_path, report=stop, **SHORT)
    assert told == [1]
    assert (folder_of(tmp_path) / "checkpoint.safetensors").exists()
    with pytest.raises(FileNotFoundError, match="not finished"):
        load(tmp_path)
    whole = train(env="CartPole-v1", seed=3, method=PAIR, out=tmp_path, **SHORT)
    assert same(whole.online, kept[1].online)
    assert same(whole.target, kept[1].target)
    assert folder_of(tmp_path).name == folder_of(kept[0]).name


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    recipe = find_agent("vector").replace(hidden=8, target="copy", acts="online")
    agent = train(recipe, env=LIMITED, steps=120, warm_up=100)
    assert list(tmp_path.iterdir()) == []
    assert agent.recipe == recipe.replace(steps=120, warm_up=100)
    assert agent.deployed is agent.online
    assert same(agent.online, agent.target)  # a copy of it, as only what plays is kept


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"env": "CartPole-v9"}, "did you mean 'CartPole-v1'"),
        ({"env": "atari:Asault"}, "did you mean 'Assault'"),
        ({"env": None}, "env: got None, expected the name"),
        ({"env": "CartPole-v1", "seed": -1}, "seed: got -1, expected a whole number of at least 0"),
        ({"env": "CartPole-v1", "seed": 1.5}, "seed: got 1.5"),
        ({"env": "CartPole-v1", "recipe": 5}, "recipe: got 5, expected the name of one"),
        ({"env": ()}, "env: got \\(\\), expected the name"),
        ({"env": "Pendulum-v1"}, "expected Discrete"),
        ({"env": "CartPole-v1", "recipe": "drk"}, "did you mean 'drq'"),
        (
            {"env": "CartPole-v1", "recipe": "spr"},
            "takes images .*self-prediction.* shows vectors of 4 numbers",
        ),
        ({"env": ["minatar:breakout", "CartPole-v1"]}, "recipe minatar takes images"),
        ({"env": "CartPole-v1", "learning_rate": 0.1}, "unknown value of recipe vector 'learning_rate'"),
        ({"env": "CartPole-v1", "steps": 0}, "steps of recipe vector: got 0"),
        ({"env": "CartPole-v1", "steps": 300}, "got 300, of which 500 are the warm-up"),
        ({"env": "CartPole-v1", "method": "hair-tortoise"}, "'hare-tortoise'"),
        ({"env": "CartPole-v1", "method": "ema+ema(decay=0.5)"}, "2 averages"),
        ({"env": "CartPole-v1", "target": "copy", "method": "ema"}, "copies its target network"),
        ({"env": "CartPole-v1", "device": "gpu"}, "device: got 'gpu', expected cpu, cuda"),
        (
            {"env": "CartPole-v1", "capacity": 10**13},
            r"the replay takes 340,000,000,000,016 bytes of memory, and",
        ),
        ({"env": "tests.rl.own_games:cannot_be_made"}, "failed when it was made"),
    ],
)
def test_what_cannot_be_trained_is_told_before(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        train(**given, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_not_finite_is_told(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="the loss was"):
        train(env=WALK, out=tmp_path, lr=1e30, clip=None, hidden=8, **SHORT)
    with pytest.raises(ValueError, match="holds no agent: the run failed"):
        load(tmp_path)


def test_folders_that_hold_no_agent(kept: tuple[Path, Agent], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no run"):
        load(tmp_path)
    for name in ("one", "two"):
        shutil.copytree(folder_of(kept[0]), tmp_path / "runs" / name)
    with pytest.raises(
        ValueError, match=r"holds 2 runs.*\n.*one  vector.* · CartPole-v1 · .*\n.*two  vector"
    ):
        load(tmp_path)
    path = tmp_path / "runs" / "one" / "trial.json"
    content = files.read_json(path)
    del content["games"]
    files.write_json(path, content)
    with pytest.raises(ValueError, match="is a run of a comparison, no agent"):
        load(path.parent)
    path.write_text(json.dumps({"content": {}, "checksum": "0"}))
    with pytest.raises(files.DamagedFileError):
        load(path.parent)


def test_an_agent_of_two_games(of_two: tuple[Path, Agent]) -> None:
    out, agent = of_two
    assert agent.padded
    assert agent.games == TWO
    found = load(out)
    assert same(found.online, agent.online)
    with pytest.raises(ValueError, match=r"was trained on minatar:asterix, minatar:breakout; say which"):
        evaluate(found, 2)
    metrics = files.read_json(folder_of(out) / "metrics.json")
    judged = metrics["rows"][-1]["evaluations"]
    assert {game: evaluate(found, JUDGING.episodes, game) for game in TWO} == judged


def test_an_agent_that_was_trained_beside_others_is_padded(
    of_two: tuple[Path, Agent], tmp_path: Path
) -> None:
    folder = shutil.copytree(folder_of(of_two[0]), tmp_path / folder_of(of_two[0]).name)
    content = files.read_json(folder / "trial.json")
    files.write_json(folder / "trial.json", {**content, "games": ["minatar:breakout"]})
    agent = load(folder)
    assert agent.padded
    assert same(agent.online, of_two[1].online)
    assert agent.space == stage_of(TWO).spaces["minatar:breakout"]
    assert len(evaluate(agent, 2)) == 2


def test_which_games_are_padded() -> None:
    assert [padded(games) for games in (TWO, TWO[:1], (TWO[0], TWO[0]), ("CartPole-v1", "Acrobot-v1"))] == [
        True,
        False,
        False,
        False,
    ]


def test_an_agent_from_nowhere_is_told_what_to_play() -> None:
    stage = stage_of(["CartPole-v1"])
    agent = build_agent(find_agent("vector"), stage.spaces["CartPole-v1"], "nothing", 0)
    with pytest.raises(ValueError, match="does not come from a run; say which"):
        evaluate(agent, 2)
    assert len(evaluate(agent, 2, "CartPole-v1")) == 2


def test_a_player_plays_whole_games(kept: tuple[Path, Agent]) -> None:
    _, agent = kept
    player, game = agent.player(), gymnasium.make("CartPole-v1")
    observation, _ = game.reset(seed=1)
    player.reset()
    over = False
    while not over:
        action = player.act(observation)
        assert action == greedy(agent, observation)
        observation, _, ended, cut, _ = game.step(action)
        over = ended or cut
    game.close()


def test_actions_are_numbered_as_in_the_environment(kept: tuple[Path, Agent]) -> None:
    agent = build_agent(find_agent("vector"), stage_of([WALK]).spaces[WALK], "nothing", 5)
    agent.games = (WALK,)
    places = [np.array([place, before], dtype=np.float64) for place in range(-5, 5) for before in (-9.0, 9.0)]
    chosen = [agent.player().act(each) for each in places]
    assert chosen == [1 + greedy(agent, each) for each in places]
    assert len(set(chosen)) > 1


def test_a_player_keeps_the_stack_of_each_life() -> None:
    space = Space((44, 44), torch.uint8, actions=4, lives=True)
    recipe = find_agent("drq").replace(hidden=8, precision="float32")
    frames = torch.arange(9, dtype=torch.uint8)[:, None, None].expand(9, 44, 44)  # the first one is none
    for ends, after in ((True, [0, 0, 0, 5]), (False, [2, 3, 4, 5])):
        agent = build_agent(recipe.replace(lives_end=ends), space, "nothing", 0)
        shown, player = seen_by(agent), agent.player()
        for number in (1, 2, 3, 4):
            player.act(frames[number].numpy(), lives=3)
        player.act(frames[5], lives=2)
        player.act(frames[6], lives=3)  # one more is none lost
        player.reset()
        player.act(frames[7], lives=1)
        player.act(frames[8])
        expected = [[0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4], after]
        expected += [[*after[1:], 6], [0, 0, 0, 7], [0, 0, 7, 8]]
        assert len(shown) == len(expected)
        for stack, seen in zip(expected, shown, strict=True):
            assert torch.equal(seen[0] * 255, frames[stack].float())


def test_a_player_of_minatar_takes_what_its_state_is(of_two: tuple[Path, Agent]) -> None:
    _, agent = of_two
    shown = seen_by(agent)
    games = MinAtar("breakout", padded=True)
    ours = games.start([0], [4]).observation[0]
    state = ours[:4].permute(1, 2, 0).numpy()  # (10, 10, channels), without those that are missing
    action = agent.player("minatar:breakout").act(state)
    assert torch.equal(shown[0][0], ours.float())
    assert action in games.spaces[0].numbers
    with pytest.raises(ValueError, match=r"the observation is \(10, 4, 10\) of torch.bool"):
        agent.player().act(state.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("observation", "said"),
    [(np.zeros(3), "shape"), (np.array([0.0, np.nan]), "not finite")],
)
def test_other_observations_are_refused(observation: Any, said: str) -> None:
    agent = build_agent(find_agent("vector"), stage_of([WALK]).spaces[WALK], "nothing", 5)
    agent.games = (WALK,)
    with pytest.raises(ValueError, match=said):
        agent.player().act(observation)
    agent.games = ()
    with pytest.raises(ValueError, match="what the agent was trained on"):
        agent.player().act(np.zeros(2))  # float64, and nobody says how it is read
    with pytest.raises(ValueError, match="the game shows"):
        agent.player(PICTURE)


def test_an_agent_acts_for_one_observation_as_its_player(kept: tuple[Path, Agent]) -> None:
    agent = kept[1]
    seen = [torch.randn(4, generator=torch.Generator().manual_seed(place)) for place in range(8)]
    player = agent.player()
    assert [agent.act(each) for each in seen] == [player.act(each) for each in seen]
    assert agent.act(seen[0].numpy()) == agent.act(seen[0])
    stacked = build_agent(find_agent("vector").replace(stack=2), agent.space, "nothing", 0)
    with pytest.raises(ValueError, match=r"sees 2 observations at once; take player = agent.player"):
        stacked.act(seen[0])


def test_a_method_that_looks_at_a_forward_is_tried_out_after_one(tmp_path: Path) -> None:
    agent = train(env="CartPole-v1", method="last-layers-reset", steps=60, warm_up=20, act_every=15, hidden=8)
    assert agent.keeping.updates == 0  # what was kept are weights
    assert agent.games == ("CartPole-v1",)


OWN_CODE = """
import torch
class Encoder(torch.nn.Module):
    features = {width}
    def __init__(self, input_shape):
        super().__init__()
        self.body = torch.nn.Linear(4, {width})
    def forward(self, x):
        return {sign}self.body(x)
"""


def test_code_that_changed_after_the_training_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "encoder_that_changes.py"

    def write(width: int, sign: str) -> None:
        module.write_text(OWN_CODE.format(width=width, sign=sign))
        sys.modules.pop(module.stem, None)
        importlib.invalidate_caches()

    write(4, "")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    train(
        env="CartPole-v1",
        encoder=f"{module.stem}:Encoder",
        steps=60,
        warm_up=20,
        hidden=8,
        out=tmp_path / "out",
    )
    load(tmp_path / "out")
    write(4, "-")
    with pytest.warns(UserWarning, match="encoder_that_changes changed since .* was trained"):
        load(tmp_path / "out")
    write(5, "")
    with (
        pytest.warns(UserWarning, match="encoder_that_changes changed"),
        pytest.raises(
            ValueError, match="weights of other shapes than encoder encoder_that_changes:Encoder has now"
        ),
    ):
        load(tmp_path / "out")


def test_an_agent_goes_to_no_device_that_is_not_there(kept: tuple[Path, Agent]) -> None:
    with pytest.raises(ValueError, match=f"device: got 'cuda:{torch.cuda.device_count()}', and torch finds"):
        load(kept[0], device=f"cuda:{torch.cuda.device_count()}")
