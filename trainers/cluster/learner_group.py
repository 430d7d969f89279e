"""A learner group: N copies of a learner, in Ray actors, that make every meta-update together and stay the same bits.

    workers ──references──▶ driver ──references──▶ learners 0 … N-1 ──trials──◀ workers
                                                   each computes its parts, all sum them in one order

The driver hands names on, not data. Each learner gets all trials, does for itself what is cheap (statistics, drawing)
and computes its own parts of what is not (`agents.contract.Team`); the first one's weights, metrics and state are the
group's.
A learner that is lost takes the group with it: those that are left go back to the state from before the update, from
which the run goes on with a new group.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from agents.contract import Agent, Learner, MetricInfo, Plan, Round, TrialBatch, Weights
from envs.task import TaskFamily
from trainers.cluster.connection import Connection
from trainers.cluster.learner_process import LearnerProcess
from trainers.cluster.nodes import Nodes
from trainers.cluster.parcels import packed
from trainers.cluster.readiness import of_a_node, reason
from trainers.errors import USER_ERRORS, ClusterError, DeviceError, LearnersLostError, TrialsLostError
from trainers.recipes.schema import Recipe
from trainers.runs.facts import BatchFacts
from trainers.stopping import StopRequest

LOOK_S = 0.5  # between looks at the signals
NOTICE_S = 8.0  # until the user is told that there is no room for the learners
START_S = 600.0  # until a group that finds no room is given up
UPDATE_S = 1800.0  # after which a meta-update, or a learner that others wait for, counts as hanging
GRACE_S = 20.0  # for the others' answers, once a learner is lost or the update is abandoned
COMPARED_EVERY = 10  # updates, between comparisons of the learners' weights


@dataclass(frozen=True)
class GroupSpec:
    """Task and means of a group.

    Attributes:
        recipe: says how many learners there are, where, and of which algorithm.
        agent, family: what learns, and on which tasks.
        threads: of each learner, on the CPU.
    """

    recipe: Recipe
    agent: Agent
    family: TaskFamily
    threads: int

    @property
    def learners(self) -> int:
        """N."""
        return self.recipe.learners


class LearnerGroup:
    """A learner like any other to the training loop.

    Raises:
        ClusterError: there is no room for it, or its learners cannot meet.
        LearnersLostError: a learner died, hung or came to other numbers.
    """

    takes_references = True

    def __init__(self, spec: GroupSpec, template: Learner, stop: StopRequest, connection: Connection) -> None:
        """Make the group and give its learners the state of `template`, a learner in this process."""
        import ray

        self._ray, self._spec, self._stop, self._connection = ray, spec, stop, connection
        self.metrics: Mapping[str, MetricInfo] = template.metrics
        self._updates = 0
        self._lost: LearnersLostError | None = None  # once a learner was found dead
        self._actors: list[Any] = []
        self._room = self._reserve()
        try:
            self._make()
            self._all("load", ray.put(template.state_dict()))
        except BaseException:
            self.close()
            raise

    # -- making it

    def _reserve(self) -> Any:
        """Room for every learner, in a placement group; waits for it, and says so."""
        gpus = _gpus_each(self._spec.recipe, self._ray.cluster_resources().get("GPU", 0.0))
        self._cuda = bool(gpus)
        bundle = {"CPU": float(self._spec.threads)} | ({"GPU": float(gpus)} if gpus else {})
        room = self._ray.util.placement_group([bundle] * self._spec.learners, strategy="PACK")
        began, said = time.monotonic(), False
        try:
            while not room.wait(LOOK_S):
                self._connection.check()
                waited = time.monotonic() - began
                if waited > START_S:
                    raise ClusterError(f"{self._lacking(bundle)}; that was so for {START_S:.0f} s: lower learners")
                if waited > NOTICE_S and not said:
                    said = True
                    self._stop.say(
                        f"{self._lacking(bundle)}; waiting for {START_S:.0f} s at most: free some, or lower learners"
                    )
        except BaseException:
            self._ray.util.remove_placement_group(room)
            raise
        return room

    def _lacking(self, bundle: Mapping[str, float]) -> str:
        there, free = self._ray.cluster_resources(), self._ray.available_resources()
        need = " and ".join(f"{count:g} {kind}{'s' if count > 1 else ''}" for kind, count in bundle.items())
        have = " and ".join(f"{there.get(kind, 0):g} {kind}s, {free.get(kind, 0):g} of them free" for kind in bundle)
        learners = self._spec.learners
        return f"{learners} learner{'s' if learners > 1 else ''} need {need} each, and the cluster has {have}"

    def _make(self) -> None:
        """Start the learners and have them meet; ClusterError or AgentError where they do not fit together."""
        ray, spec = self._ray, self._spec
        strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        actor = ray.remote(max_restarts=0, max_task_retries=0)(LearnerProcess)
        given = [ray.put(packed(spec.agent, spec.family, elsewhere=self._connection.elsewhere))]
        of = spec.recipe
        recipe = ray.cloudpickle.dumps((of.algorithm.make_learner, of.agent, of.seed, of.deterministic))
        options = {"num_cpus": spec.threads} | ({"num_gpus": 1} if self._cuda else {})
        self._actors = [
            actor.options(
                **options, scheduling_strategy=strategy(self._room, placement_group_bundle_index=rank)
            ).remote(given, recipe, "cuda" if self._cuda else "cpu", spec.threads)
            for rank in range(spec.learners)
        ]
        found = self._described()
        nodes = Nodes(self._stop.say, None)
        for one in found:
            nodes.welcome(one)
        refuse_parts(found[0]["parts"], spec.learners)
        _refuse_mixed(found)
        if spec.learners > 1:
            place = self._first("meeting_place")
            calls = [one.join.remote(rank, spec.learners, place, UPDATE_S) for rank, one in enumerate(self._actors)]
            self._answers(calls)

    def _described(self) -> list[Any]:
        """The learners' nodes, once they are ready; ClusterError where one cannot be, but for its node's death."""
        try:
            return self._all("describe")
        except LearnersLostError as lost:
            cause = lost.__cause__
            if not isinstance(cause, self._ray.exceptions.RayActorError) or of_a_node(cause):
                raise
            raise ClusterError(
                f"learners ended before they were ready ({reason(cause)}); give every node the same Acclimate, and all "
                "of them and this process the same RAY_AUTH_MODE and token"
            ) from cause

    # -- what the training loop asks

    def receive(self, trials: Sequence[Any]) -> None:
        """Have every learner get these trials; TrialsLostError if a node was lost with some of them."""
        ours = [one if isinstance(one, self._ray.ObjectRef) else self._ray.put(one) for one in trials]
        try:
            self._all("receive", ours)
        except LearnersLostError as error:
            if isinstance(error.__cause__, self._ray.exceptions.ObjectLostError):
                raise TrialsLostError("trials were lost with a node that held them") from error
            raise

    def learn(self, rounds: Sequence[Round]) -> tuple[dict[str, float], BatchFacts]:
        """One meta-update on the trials that were received, by all together."""
        found = self._all("learn", tuple(rounds))[0]
        if self._updates % COMPARED_EVERY == 0 and len(set(self._all("digest"))) > 1:
            raise LearnersLostError(
                f"the {self._spec.learners} learners came to different weights in update {self._updates}: their "
                "machines compute differently; give all learners the same kind of processor or GPU"
            )
        self._updates += 1
        return found

    def plan(self, iteration: int) -> Plan:
        """The plan, which all learners would make."""
        return self._first("plan", iteration)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights, which all learners have."""
        return self._first("weights")

    def update(self, batch: TrialBatch) -> dict[str, float]:
        """One meta-update on trials that are in this process."""
        self.receive([batch])
        return self.learn([Round(one.label, one.reward.shape[2]) for one in batch])[0]

    def state_dict(self) -> dict[str, Any]:
        """The state, which all learners have; of a group that is lost, what one that is left has gone back to."""
        return self._first("state")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give every learner a state."""
        self._all("load", self._ray.put(dict(state)))

    def load_weights(self, weights: Weights) -> None:
        """Not for a group: it is made from a learner that has them."""
        raise NotImplementedError("weights are loaded before the group is made")

    def savepoint(self) -> Callable[[], None]:
        """A function that takes the learners, or those that are left, back to this moment."""
        self._all("save")
        return self._revert

    def _revert(self) -> None:
        """Back to the savepoint; learners that do not answer are given up."""
        calls = {one.revert.remote(): one for one in self._actors}
        done, late = self._ray.wait([*calls], num_returns=len(calls), timeout=GRACE_S) if calls else ([], [])
        left = []
        for answer in done:
            with suppress(self._ray.exceptions.RayError):
                self._ray.get(answer)
                left.append(calls[answer])
        for answer in late:
            self._ray.kill(calls[answer])
        self._actors = [one for one in self._actors if one in left]

    def close(self) -> None:
        """End the learners and give their room back."""
        if not self._connection.answers():  # Ray would wait for its head; learners end with this process
            return
        with suppress(self._ray.exceptions.RayError):
            for actor in self._actors:
                self._ray.kill(actor)
            self._ray.util.remove_placement_group(self._room)

    # -- calls

    def _first(self, method: str, *given: Any) -> Any:
        """The answer of the first learner that lives: between updates all are the same."""
        while self._actors:
            try:
                return self._answers([getattr(self._actors[0], method).remote(*given)])[0]
            except LearnersLostError as lost:
                self._lost = lost
                if not isinstance(lost.__cause__, self._ray.exceptions.RayActorError) or len(self._actors) == 1:
                    raise
                self._actors = self._actors[1:]
        raise ClusterError("no learner is left, and its state with it; the newest checkpoint is what there is")

    def _all(self, method: str, *given: Any) -> list[Any]:
        if self._lost is not None:  # those that are left would wait for it
            raise self._lost
        return self._answers([getattr(actor, method).remote(*given) for actor in self._actors])

    def _answers(self, calls: Sequence[Any]) -> list[Any]:
        """All answers; the user's error where all learners have it, LearnersLostError where one fails by itself."""
        ray, began = self._ray, time.monotonic()
        waiting, values, errors = list(calls), {}, {}
        failed: float | None = None
        while waiting:
            self._connection.check()
            done, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=LOOK_S)
            for answer in done:
                try:
                    values[answer] = ray.get(answer)
                except Exception as error:  # the learner's, or Ray's
                    cause = getattr(error, "cause", None)
                    errors[answer] = cause if isinstance(cause, Exception) else error
            now = time.monotonic()
            failed = now if errors and failed is None else failed
            if now - began > UPDATE_S or (failed is not None and now - failed > GRACE_S):
                break
        if len(values) == len(calls):
            return [values[answer] for answer in calls]
        found = [*errors.values()]
        if not waiting and all(isinstance(error, USER_ERRORS) for error in found) and not values:
            raise found[0]
        dead = [error for error in found if isinstance(error, ray.exceptions.RayActorError)]
        # Where one has died the others, which wait for it, fail too: it is the one to be named.
        first = next(iter(dead or found), None)
        silent = f"{len(waiting)} did not answer for {time.monotonic() - began:.0f} s" if waiting and not dead else ""
        broken = f"{len(dead)} died ({reason(first)})" if dead and first else ""
        broken = broken or (f"{len(found)} failed ({reason(first)})" if first else "")
        raise LearnersLostError(
            f"of {self._spec.learners} learners {' and '.join(part for part in (broken, silent) if part)}"
        ) from first


def _gpus_each(recipe: Recipe, there: float) -> int:
    """GPUs of a learner, 1 or 0; DeviceError where the recipe asks for what is not there."""
    if recipe.device.startswith("cuda:"):
        raise DeviceError(f"device {recipe.device}: learners take the GPUs that Ray gives them; use device=cuda")
    if recipe.device == "cuda" and there < recipe.learners:
        wanted = "1 learner needs 1 GPU" if recipe.learners == 1 else f"{recipe.learners} learners need a GPU each"
        cure = "lower learners, or use device=auto" if there else "use device=auto or device=cpu"
        raise DeviceError(f"device=cuda: {wanted}, and Ray has {there:g}; {cure}")
    return int(recipe.device != "cpu" and there >= recipe.learners)


def refuse_parts(parts: int, learners: int, finer: str | None = None) -> None:
    """Raises unless so many learners can share an update.

    Args:
        parts: that an update is cut into; 0 where it cannot be shared.
        learners: how many the recipe asks for.
        finer: what would cut it finer in a new run.
    """
    if learners > 1 and not parts:
        raise ClusterError(
            f"learners={learners}, but this agent's algorithm does not share an update; set learners=0, or 1 to learn "
            "in a Ray actor"
        )
    if learners > max(parts, 1):
        raise ClusterError(
            f"learners={learners}, but an update of this recipe is cut into {parts} part{'s' if parts > 1 else ''}; "
            f"lower learners{f', or cut it finer by {finer}' if finer else ''}"
        )


def _refuse_mixed(found: Sequence[Mapping[str, Any]]) -> None:
    """Raises unless these learners come to the same bits."""
    for kind in ("instruction_set", "gpu"):
        if len(kinds := {str(one[kind]) for one in found}) > 1:
            raise ClusterError(
                f"the learners' machines differ in {kind.replace('_', ' ')} ({', '.join(sorted(kinds))}), so their "
                "numbers would come apart; give them machines of one kind"
            )
