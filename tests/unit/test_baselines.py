"""Agents without weights: against values known exactly, slow twins, and what is published."""

from __future__ import annotations

import copy
import json
import pickle
from itertools import pairwise

import gymnasium
import numpy as np
import pytest

from agents.baselines import BASELINES
from agents.baselines import grid_navi as grid_navi_plan
from agents.baselines.bandits import UCB1, ArmCounts, Bayes, Gittins, Thompson
from agents.baselines.tabular import PSRL, PosteriorGreedy, TransitionCounts
from agents.contract import AgentError, Interface, Round
from agents.functional.planning import arm_number, bandit_states, bayes_bandit, gittins_indices, value_iteration
from envs.navigation.point_nav import PointNav
from envs.oracle import OracleWrapper
from envs.tabular import grid_navi, tabular_mdp
from envs.tabular.bandit import Bandit2Arms, Bandit5Arms
from envs.tabular.grid_navi import GridNavi
from envs.tabular.tabular_mdp import TabularMDP
from tests.helpers import TINY, LineFamily, call
from tests.oracles.bandits import bayes_value, gittins_index
from tests.oracles.mdps import value_iteration_loop
from trainers.recipes import registry
from trainers.recipes.registry import interface_of
from trainers.recipes.schema import Recipe
from trainers.sampling.random_streams import random_key
from trainers.sampling.shards import Shard
from trainers.sampling.trial_loop import run_trials
from trainers.training import setup

FAMILIES = {
    "bayes": (Bandit5Arms, 10),
    "belief": (GridNavi, 4),
    "gittins": (Bandit5Arms, 10),
    "oracle": (TabularMDP, 2),
    "posterior_greedy": (TabularMDP, 3),
    "posterior_replan": (TabularMDP, 3),
    "psrl": (TabularMDP, 3),
    "random": (PointNav, 2),
    "thompson": (Bandit5Arms, 10),
    "ucb1": (Bandit5Arms, 10),
}


def play(name, family, episodes, tasks, shard_size=500):
    """The single round of trials on these tasks, joined."""
    maker = registry.baseline(name)
    played = OracleWrapper(family) if maker.needs_task else family
    agent = maker(interface_of(played), episodes)
    rounds = agent.trial_rounds(episodes - 1, 1)
    keys = [random_key(0, "evaluation", number) for number in range(len(tasks))]
    found = []
    for start in range(0, len(tasks), shard_size):
        end = start + shard_size
        found.append(run_trials(agent, played, {}, Shard(tuple(tasks[start:end]), rounds, tuple(keys[start:end])))[0])
    fields = {"observation", "action", "reward", "episode"}
    return {field: np.concatenate([getattr(one, field)[:, 0, 0] for one in found]) for field in fields}


def held_out(family, count):
    return family.task_set("held-out", count, 0).tasks


def mean_and_error(values):
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


# -- bandits


def test_bayes_optimal_values_are_exact():
    assert bayes_bandit(2, 10)[2] == pytest.approx(6.0218, abs=5e-5)
    assert bayes_bandit(5, 10)[2] == pytest.approx(6.660, abs=5e-4)
    # One pull earns 1/2. Two of two arms: after a win (1/2) stay at 2/3, after a loss try the other at 1/2:
    # 1/2 + 1/2 * 2/3 + 1/2 * 1/2 = 13/12.
    assert bayes_bandit(3, 1)[2] == 0.5
    assert bayes_bandit(2, 2)[2] == pytest.approx(13 / 12)


@pytest.mark.parametrize(("arms", "pulls"), [(1, 4), (2, 6), (3, 4)])
def test_bayes_value_is_its_slow_twins(arms, pulls):
    assert bayes_bandit(arms, pulls)[2] == pytest.approx(bayes_value([(0, 0)] * arms, pulls))
    assert bandit_states(arms, pulls) == len(bayes_bandit(arms, pulls)[0])


def test_two_arms_and_ten_pulls_earn_what_is_known():
    """Blind 5.0, Bayes-optimal 6.022, oracle 10 E max(p1, p2) = 20/3."""
    family = Bandit2Arms()
    tasks = held_out(family, 2000)
    for name, known in (("random", 5.0), ("bayes", bayes_bandit(2, 10)[2]), ("oracle", 20 / 3)):
        mean, error = mean_and_error(play(name, family, 10, tasks)["reward"].sum(-1))
        assert error < 0.07
        assert abs(mean - known) < 4 * error, name


@pytest.mark.parametrize(("name", "known"), [("thompson", 74.7), ("gittins", 78.4)])
def test_a_hundred_pulls_of_five_arms_earn_what_is_published(name, known):
    """Duan et al. 2016, table 1, and 78.49 +- 0.08 computed here before.

    Measured by what the arms lose on the best one, with the luck of coins and tasks taken out: 100 E max p = 500 / 6.
    """
    family = Bandit5Arms()
    tasks = held_out(family, 700)
    success_probs = np.array([task["chances"] for task in tasks])
    action = play(name, family, 100, tasks)["action"]
    lost = success_probs.max(-1) - np.take_along_axis(success_probs, action, -1).mean(-1)
    mean, error = mean_and_error(500 / 6 - 100 * lost)
    assert error < 0.3
    assert abs(mean - known) < 4 * error


@pytest.mark.parametrize("pulls", [1, 5, 8])
def test_gittins_indices_are_their_slow_twins(pulls):
    table = gittins_indices(pulls)
    for left in range(1, pulls + 1):
        for successes in range(pulls - left + 1):
            for failures in range(pulls - left - successes + 1):
                found = table[left - 1, arm_number(np.array(successes), np.array(failures))]
                assert -1e-9 < found - gittins_index(successes, failures, left) < 7e-4
    assert np.isfinite(table).sum() == sum(n * (n + 1) // 2 for n in range(1, pulls + 1))


def test_a_gittins_index_by_hand():
    """An unpulled arm, two steps remaining: 0 = 1/2 - c + 1/2 (2/3 - c), so c = 5/9; the last pull's is the mean."""
    table = gittins_indices(2)
    assert table[1, 0] == pytest.approx(5 / 9, abs=1e-3)
    assert table[0].tolist() == pytest.approx([1 / 2, 1 / 3, 2 / 3])


def test_ucb1_pulls_each_arm_once_and_then_the_highest_bound():
    family = Bandit5Arms()
    first = play("ucb1", family, 6, held_out(family, 20))
    assert (first["action"][:, :5] == np.arange(5)).all()
    # 2 wins of 4, 1 of 1, 0 of 1; t = 6: 0.5 + sqrt(2 ln 6 / 4) = 1.4465, 1 + sqrt(2 ln 6) = 2.8930, 1.8930.
    three = Interface(gymnasium.spaces.Discrete(1), gymnasium.spaces.Discrete(3), 1)
    scores = UCB1(three, 9).scores(ArmCounts(np.array([[2, 1, 0]]), np.array([[2, 0, 1]])), None)
    assert scores[0].tolist() == pytest.approx([1.4465, 2.8930, 1.8930], abs=1e-4)


def test_thompson_draws_from_the_posterior():
    agent = Thompson(interface_of(Bandit2Arms()), 9)
    many = ArmCounts(np.tile([[3, 0]], (4000, 1)), np.tile([[1, 0]], (4000, 1)))
    noise = agent.draw_noise(np.random.default_rng(0), (1, 4000))[0]
    drawn = agent.scores(many, noise)
    # Beta(4, 2) has mean 2/3 and variance 8 / (36 * 7), Beta(1, 1) is U[0, 1].
    assert drawn.mean(0).tolist() == pytest.approx([2 / 3, 1 / 2], abs=4 * 0.3 / np.sqrt(4000))
    assert drawn.var(0).tolist() == pytest.approx([8 / 252, 1 / 12], rel=0.1)
    assert agent.scores(many, None)[0].tolist() == pytest.approx([2 / 3, 1 / 2])


# -- tabular MDPs


def test_value_iteration_is_its_slow_twin_and_gives_the_familys_optimal_return():
    rng = np.random.default_rng(0)
    transition_probs, rewards = rng.dirichlet(np.ones(4), (3, 4, 2)), rng.normal(size=(3, 4, 2))
    best, value = value_iteration(transition_probs, rewards, steps=5)
    for task in range(3):
        expected_best, expected_value = value_iteration_loop(transition_probs[task], rewards[task], 5)
        assert np.array_equal(best[:, task], expected_best)
        assert value[task] == pytest.approx(expected_value)
    assert value == pytest.approx(tabular_mdp.optimal_return(transition_probs, rewards, 5))


TWO_STATES = Interface(gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2), 3)


def seen(agent, steps):
    """One trial's state after (state, action, reward, next state) steps."""
    state = agent.begin_trial({}, 1)
    for number, (before, action, reward, after) in enumerate(steps, 1):
        transition = {
            "observation": before,
            "action": action,
            "reward": reward,
            "next_observation": after,
            "valid": True,
            "terminated": False,
            "truncated": number % 3 == 0,
        }
        state = agent.observe({}, state, {name: np.array([[value]]) for name, value in transition.items()})
    return state


def test_the_posterior_of_an_mdp_by_hand():
    state = seen(PosteriorGreedy(TWO_STATES, 2), [(0, 1, 3.0, 0), (0, 1, 2.0, 1), (1, 0, -1.0, 0), (0, 1, 1.0, 1)])
    # (0, 1) was visited three times, once to 0 and twice to 1, for 3 + 2 + 1; (1, 0) once, to 0, for -1.
    transitions = state.mean_transitions()[0]
    assert transitions[0, 1].tolist() == pytest.approx([2 / 5, 3 / 5])
    assert transitions[1, 0].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert transitions[0, 0].tolist() == transitions[1, 1].tolist() == [0.5, 0.5]
    assert state.mean_rewards()[0].tolist() == [[1.0, 7 / 4], [0.0, 1.0]]
    assert state.reward_variance()[0].tolist() == [[1.0, 1 / 4], [1 / 2, 1.0]]
    assert state.step.tolist() == [1], "the third step ended an episode"


def test_psrl_draws_from_the_posterior():
    agent, draws = PSRL(TWO_STATES, 2), 3000
    one = seen(agent, [(0, 1, 3.0, 0), (0, 1, 2.0, 1), (0, 1, 1.0, 1)])
    many = TransitionCounts(
        *[np.repeat(array, draws, 0) for array in (one.visits, one.reward_sum, one.step)], one.policy
    )
    noise = agent.draw_noise(np.random.default_rng(0), (draws,))
    transition_probs, rewards = agent.model(many, np.arange(draws), noise)
    assert transition_probs.sum(-1) == pytest.approx(np.ones((draws, 2, 2)))
    # Dirichlet(2, 3): mean 2/5, variance 6 / (25 * 6). N(7/4, 1/4).
    assert transition_probs[:, 0, 1, 0].mean() == pytest.approx(2 / 5, abs=4 * 0.2 / np.sqrt(draws))
    assert transition_probs[:, 0, 1, 0].var() == pytest.approx(1 / 25, rel=0.15)
    assert rewards[:, 0, 1].mean() == pytest.approx(7 / 4, abs=4 * 0.5 / np.sqrt(draws))
    assert rewards[:, 0, 1].var() == pytest.approx(1 / 4, rel=0.15)


def test_psrl_keeps_its_draw_for_an_episode():
    agent = PSRL(interface_of(TabularMDP()), 2)
    noise = agent.draw_noise(np.random.default_rng(0), (3, 4, 1))
    here = np.zeros((4, 1), np.int64)
    _, _, state = agent.act({}, agent.begin_trial({}, 4), here, noise[0])
    begun = copy.deepcopy(state)
    state = TransitionCounts(state.visits, state.reward_sum, state.step + 1, state.policy)
    assert np.array_equal(agent.act({}, state, here, noise[1])[2].policy, begun.policy)
    assert not np.array_equal(agent.act({}, begun, here, noise[2])[2].policy, begun.policy)


def test_planners_of_mdps_earn_what_was_measured():
    """On 20,000 MDPs: random 100.0, planned on the posterior mean at episode starts 149.5, known MDP 218.1."""
    family = TabularMDP()
    tasks = held_out(family, 300)
    totals = {
        name: play(name, family, 10, tasks)["reward"].sum(-1)
        for name in ("random", "psrl", "posterior_greedy", "posterior_replan", "oracle")
    }
    for name, known in (("random", 100.0), ("posterior_greedy", 149.5), ("oracle", 218.1)):
        mean, error = mean_and_error(totals[name])
        assert abs(mean - known) < 4 * error, name
    for worse, better in pairwise(totals):
        mean, error = mean_and_error(totals[better] - totals[worse])
        assert mean > 4 * error, f"{better} against {worse}"


# -- GridNavi


def test_the_grid_is_that_of_the_family():
    for name in ("SIZE", "STEPS", "GOALS"):
        assert getattr(grid_navi_plan, name) == getattr(grid_navi, name)
    assert np.array_equal(grid_navi_plan.MOVES, grid_navi.MOVES)
    assert grid_navi_plan.episode_return(1) == pytest.approx(15 * grid_navi.ON_GOAL)
    assert grid_navi_plan.episode_return(16) == pytest.approx(15 * grid_navi.ELSEWHERE)


def test_the_grids_plan_is_the_best_there_is():
    """Bounds of any plan: the first goal cell is 2 steps away and each step meets one at most, so the first episode
    meets 14 goals at steps 2 to 15 and earns at most (sum of 16.1 - 1.1 t over them - 7 * 1.5) / 21 = 4; no episode
    earns more than that of a known goal. The plan reaches both, from the second episode on.
    """
    actions, returns = grid_navi_plan.search_plan(4)
    family = GridNavi()
    known = np.mean([family.reference_returns(task)["oracle"] for task in held_out(family, 21)])
    assert returns == pytest.approx((4.0, known, known, known))
    met = set()
    for episode, walked in enumerate(actions):
        place = np.zeros(2, np.int64)
        for step, action in enumerate(walked, 1):
            place = np.clip(place + grid_navi.MOVES[action], 0, 4)
            cell = int(place[0] + 5 * place[1])
            if cell in grid_navi.GOALS and cell not in met:
                met.add(cell)
                if episode == 0:
                    assert step == 1 + len(met), "the first episode meets a new cell in every step from the second on"
                else:
                    assert step == place.sum(), "the second meets the others at their distance from the start"
        assert len(met) == (14 if episode == 0 else 21)


@pytest.mark.parametrize("episodes", [1, 2, 4])
def test_the_belief_agent_earns_what_its_plan_says(episodes):
    family = GridNavi()
    played = play("belief", family, episodes, held_out(family, 21))
    earned = [played["reward"][:, 15 * one : 15 * (one + 1)].sum(-1).mean() for one in range(episodes)]
    assert earned == pytest.approx(grid_navi_plan.search_plan(episodes)[1], abs=1e-5)


# -- oracles


def test_the_oracle_of_a_grid_earns_the_familys_reference_return():
    family = GridNavi()
    tasks = held_out(family, 21)
    earned = play("oracle", family, 2, tasks)["reward"].reshape(21, 2, 15).sum(-1)
    known = [family.reference_returns(task)["oracle"] for task in tasks]
    assert earned == pytest.approx(np.stack([known, known], -1), abs=1e-5)


def test_the_oracle_of_a_bandit_pulls_the_best_arm():
    family = Bandit5Arms()
    tasks = held_out(family, 50)
    action = play("oracle", family, 3, tasks)["action"]
    assert (action == np.array([np.argmax(task["chances"]) for task in tasks])[:, None]).all()


def test_the_oracle_of_an_mdp_plays_the_optimal_policy():
    family = TabularMDP()
    tasks = held_out(family, 20)
    played = play("oracle", family, 2, tasks)
    where = played["observation"][..., :10].argmax(-1)
    best = np.stack([value_iteration_loop(*tabular_mdp.tables(task["draw"]), 10)[0] for task in tasks], 1)
    assert np.array_equal(played["action"], best[np.arange(20) % 10, np.arange(20)[:, None], where])


# -- what every one owes the trial loop


@pytest.mark.parametrize("name", BASELINES)
def test_trials_do_not_depend_on_their_neighbours(name):
    family, episodes = FAMILIES[name][0](), FAMILIES[name][1]
    tasks = held_out(family, 5)
    together, alone = (play(name, family, episodes, tasks, shard_size=size) for size in (5, 1))
    assert all(np.array_equal(together[field], alone[field]) for field in together)


@pytest.mark.parametrize("name", BASELINES)
def test_it_is_pure_and_travels(name):
    """Nothing is changed in place, and a pickled copy does the same."""
    maker, (family, episodes) = registry.baseline(name), FAMILIES[name]
    assert maker.name == name
    family = OracleWrapper(family()) if maker.needs_task else family()
    agent = maker(interface_of(family), episodes)
    again = pickle.loads(pickle.dumps(agent))
    env = family.make_vector_env(held_out(family, 3), 1)
    noise = agent.draw_noise(np.random.default_rng(0), (4, 3))
    assert noise.dtype == np.float32
    observation, _ = env.reset(seed=[0, 1, 2])
    state = agent.begin_trial({}, 3)
    for step in range(2):
        before = copy.deepcopy(state)
        action, log_prob, acted = agent.act({}, state, observation[:, None], noise[step][:, None])
        assert log_prob.shape == action.shape[:2] == (3, 1)
        assert np.array_equal(again.act({}, before, observation[:, None], noise[step][:, None])[0], action)
        after, reward, terminated, truncated, _ = env.step(action[:, 0])
        ended = terminated | truncated
        transition = {
            "observation": observation,
            "next_observation": after,
            "action": action[:, 0],
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
            "valid": np.ones(3, bool),
        }
        observed = agent.observe({}, acted, {field: values[:, None] for field, values in transition.items()})
        assert pickle.dumps(copy.deepcopy(state)) == pickle.dumps(before)
        assert all(len(array) == 3 for array in agent.inspect({}, observed).values())
        observation = env.reset(options={"reset_mask": ended})[0] if ended.any() else after
        state = observed


def test_random_actions_fill_their_space():
    box = Interface(gymnasium.spaces.Discrete(1), gymnasium.spaces.Box(np.array([-1, 5]), np.array([3, 6])), 1)
    some = Interface(gymnasium.spaces.Discrete(1), gymnasium.spaces.Discrete(3, start=7), 1)
    for one, low, high in ((box, [-1, 5], [3, 6]), (some, 7, 9)):
        agent = registry.baseline("random")(one, 1)
        noise = agent.draw_noise(np.random.default_rng(0), (2000, 2))
        action, _, _ = agent.act({}, None, np.zeros((2000, 2)), noise)
        assert np.allclose(action.min((0, 1)), low, atol=0.01)
        assert np.allclose(action.max((0, 1)), high, atol=0.01)
        assert all(one.action_space.contains(action[row, 0]) for row in range(50))


DISCRETE = gymnasium.spaces.Discrete


@pytest.mark.parametrize(
    ("name", "space", "says"),
    [
        ("thompson", (DISCRETE(1), DISCRETE(5), 3), "whose episodes are one pull, not 3 steps"),
        ("ucb1", (DISCRETE(1), gymnasium.spaces.Box(0, 1, (2,)), 1), "ucb1 agent takes Discrete actions, not Box"),
        ("psrl", (gymnasium.spaces.Box(0, 1, (2,)), DISCRETE(5), 9), "psrl agent takes Discrete observations, not Box"),
        ("belief", (DISCRETE(25), DISCRETE(4), 15), r"GridNavi \(25 cells, 5 moves, 15 steps\), not 25 obs.*, 4 act"),
        ("oracle", (gymnasium.spaces.Box(0, 1, (7,)), DISCRETE(5), 9), "knows bandits, tabular MDPs and GridNavi"),
        ("random", (DISCRETE(1), gymnasium.spaces.Box(-np.inf, 1, (2,)), 1), "bound the space"),
        ("random", (DISCRETE(1), gymnasium.spaces.Box(0, 4, (2,), np.int64), 1), "bound the space"),
        ("bayes", (DISCRETE(1), DISCRETE(5), 1), "5 arms and 50 pulls have [0-9,]+ states: measure gittins"),
        ("bayes", (DISCRETE(1), DISCRETE(90), 1), "90 arms and 50 pulls have too many states"),
    ],
)
def test_what_it_cannot_serve_is_said_in_a_sentence(name, space, says):
    with pytest.raises(AgentError, match=says):
        registry.baseline(name)(Interface(*space), 50)


def test_trials_that_do_not_fit_are_refused():
    family = Bandit2Arms()
    with pytest.raises(AgentError, match="at most 200 pulls, not 201"):
        Gittins(interface_of(family), 201)
    agent = Bayes(interface_of(family), 3)
    with pytest.raises(AgentError, match="made for trials of 3 episodes, not 5"):
        agent.trial_rounds(4, 1)
    tasks, keys = tuple(held_out(family, 2)), (random_key(0, "evaluation", 0), random_key(0, "evaluation", 1))
    with pytest.raises(AgentError, match=r"one row, not 2 side by side; set evaluation.rollouts=1"):
        run_trials(agent, family, {}, Shard(tasks, agent.trial_rounds(2, 2), keys))
    with pytest.raises(AgentError, match="trials of 3 pulls, and one goes on"):
        run_trials(agent, family, {}, Shard(tasks, (Round("trial", 1, episodes=4),), keys))


def test_rewards_and_ends_that_do_not_fit_are_refused():
    family = LineFamily()
    pays_more = Interface(gymnasium.spaces.Discrete(1), gymnasium.spaces.Discrete(2), 1)
    agent = Thompson(pays_more, 2)
    step = {"reward": np.array([[0.5]]), "valid": np.ones((1, 1), bool), "action": np.zeros((1, 1), np.int64)}
    with pytest.raises(AgentError, match=r"are 0 or 1, not 0\.5"):
        agent.observe({}, agent.begin_trial({}, 1), step)
    agent = PosteriorGreedy(TWO_STATES, 2)
    step |= {"terminated": np.ones((1, 1), bool), "truncated": np.zeros((1, 1), bool)}
    with pytest.raises(AgentError, match="episodes of a fixed length"):
        agent.observe({}, agent.begin_trial({}, 1), step)
    agent = registry.baseline("random")(interface_of(family), 2)
    with pytest.raises(AgentError, match="nothing but noise"):
        agent.act({}, None, np.zeros((1, 1, 1)), None)


# -- the command


@pytest.fixture(scope="module")
def bandit_run(tmp_path_factory):
    """A run that is only begun: its tasks are frozen."""
    evaluation = "evaluation={validation_tasks: 2, held_out_tasks: 30, rollouts: 1, rounds: 9, repeats: 20}"
    recipe = Recipe.load(
        "point_nav_maml",
        ["family=bandit_2_arms-v1", *TINY[:-1], evaluation, "sampling.tasks_per_shard=30"],
    )
    return setup.create_run(recipe, tmp_path_factory.mktemp("runs") / "run").path


@pytest.mark.parametrize("name", ["random", "bayes", "oracle", "agents.baselines.bandits:Thompson"])
def test_the_command_measures_baselines_on_the_runs_tasks(bandit_run, tmp_path, name):
    target = tmp_path / "summary.json"
    result = call("evaluate", bandit_run, "--agent", name, "--json", target)
    assert result.exit_code == 0, result.output
    assert f"baseline {name}" in " ".join(result.output.split())
    summary = json.loads(target.read_text())
    assert (summary["agent"], summary["training_seeds"], len(summary["adaptation_step"])) == (name, 0, 10)
    assert summary["task_set_hash"] == json.loads((bandit_run / "tasks" / "held-out.json").read_text())["hash"]
    success_probs = np.array([task["parameters"]["chances"] for task in summary["tasks"]])
    exact = {"random": success_probs.mean(-1), "oracle": success_probs.max(-1)}
    if name in exact:
        error = 0.5 / np.sqrt(30 * 20 * 10)
        assert abs(np.mean(summary["mean"]) - exact[name].mean()) < 4 * error


def test_deterministic_probes_are_taken_of_baselines_too(bandit_run):
    result = call("evaluate", bandit_run, "--agent", "thompson", "--deterministic")
    assert result.exit_code == 0, result.output
    assert "deterministic policy" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--agent", "tompson"], "--agent: there is no 'tompson'; did you mean thompson?"),
        (["--agent", "agents.maml:MAML"], "not the class of a baseline"),
        (["--agent", "psrl", "--untrained"], "has no weights; leave --untrained, --context and --checkpoint out"),
        (["--agent", "belief"], "the belief agent plays GridNavi"),
        (["--agent", "random", "--deterministic"], "nothing but noise"),
        (["--agent", "gittins", "--rounds", 300], "at most 200 pulls, not 301"),
    ],
)
def test_the_command_says_which_baseline_it_cannot_measure(bandit_run, words, says):
    result = call("evaluate", bandit_run, *words)
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
