"""The point robots of PEARL (Rakelly et al. 2019, arXiv:1903.08254): dense, and sparse on a half circle."""

from __future__ import annotations

import numpy as np

from envs.navigation.point_env import SUCCESS_M, PointFamily
from envs.task import Task, Uniform


class PointRobot(PointFamily):
    """point_robot-v1: walk from a random start to an unknown goal.

    * Observation: position (x, y), metres, 2 entries. Action: [-1, 1]^2, clipped, moves 0.1 m per unit.
    * Start: U[-1, 1]^2, metres. Reward: minus the Euclidean distance to the goal after the step, metres.
    * Ends: never terminated; truncated after 20 steps. Success: within 0.2 m of the goal.
    * Task distribution: goal_m ~ U[-1, 1]^2; the paper fixes 80 training and 20 test goals. Out of distribution: a
      coordinate in [1, 1.5] or [-1.5, -1].
    * Source: oyster, rlkit/envs/point_robot.py. Differs: goals are not drawn from NumPy's global generator.
    * Versions: v1, 2026.
    """

    name = "point_robot-v1"
    parameters = {"goal_m": Uniform(-1.0, 1.0, shape=(2,), unit="m", ood=((-1.5, -1.0), (1.0, 1.5)))}
    episode_steps = 20
    random_start = True

    def goal(self, task: Task) -> np.ndarray:
        return np.array(task["goal_m"])


class SparsePointRobot(PointFamily):
    """sparse_point_robot-v1: find the rewarded disc around an unknown goal on the unit half circle.

    * Observation: position (x, y), metres, 2 entries. Action: [-1, 1]^2, clipped, moves 0.1 m per unit.
    * Start: the origin. Reward: 1 - d if d <= 0.2, else 0, with d the Euclidean distance to the goal in metres.
    * Ends: never terminated; truncated after 20 steps. Success: within 0.2 m of the goal.
    * Task distribution: angle_rad ~ U[0, pi], goal = (cos, sin); the paper fixes 80 training and 20 test angles.
      Out of distribution: the other half circle, [-pi, 0].
    * Source: oyster, rlkit/envs/point_robot.py: its learner sees the dense reward -d, its context and its test see the
      sparse one. Here the reward is the sparse one; -d is the step info `dense_reward`, declared as privileged.
    * Versions: v1, 2026.
    """

    name = "sparse_point_robot-v1"
    parameters = {"angle_rad": Uniform(0.0, np.pi, unit="rad", ood=((-np.pi, 0.0),))}
    episode_steps = 20
    privileged_info = ("dense_reward",)

    def goal(self, task: Task) -> np.ndarray:
        return np.array([np.cos(task["angle_rad"]), np.sin(task["angle_rad"])])

    def reward(self, gap: np.ndarray) -> np.ndarray:
        return np.where(gap <= SUCCESS_M, 1.0 - gap, 0.0)

    def info(self, gap: np.ndarray) -> dict[str, np.ndarray]:
        return {"dense_reward": -gap}
