"""What is learned: one file per task family, all listed here. Importing this package registers the single
environments with Gymnasium as `acclimate/<family>`.
"""

from __future__ import annotations

from typing import Any

import gymnasium

# Lazy, so that a family's own packages (MuJoCo, say) are only needed by those who use it.
FAMILIES = {
    "ant_dir-v1": "envs.locomotion.ant:AntDir",
    "ant_friction-v1": "envs.locomotion.terrains:AntFriction",
    "ant_fwd_back-v1": "envs.locomotion.ant:AntFwdBack",
    "ant_gaps-v1": "envs.locomotion.terrains:AntGaps",
    "ant_goal-v1": "envs.locomotion.ant:AntGoal",
    "ant_mixed-v1": "envs.locomotion.terrains:AntMixed",
    "ant_mixed_scan-v1": "envs.locomotion.terrains:AntMixedScan",
    "ant_rough-v1": "envs.locomotion.terrains:AntRough",
    "ant_slope-v1": "envs.locomotion.terrains:AntSlope",
    "ant_steps-v1": "envs.locomotion.terrains:AntSteps",
    "ant_vel-v1": "envs.locomotion.ant:AntVel",
    "ant_waves-v1": "envs.locomotion.terrains:AntWaves",
    "ant_weak_motor-v1": "envs.locomotion.faults:AntWeakMotor",
    "bandit_2_arms-v1": "envs.tabular.bandit:Bandit2Arms",
    "bandit_5_arms-v1": "envs.tabular.bandit:Bandit5Arms",
    "grid_navi-v1": "envs.tabular.grid_navi:GridNavi",
    "half_cheetah_dir-v1": "envs.locomotion.half_cheetah:HalfCheetahDir",
    "half_cheetah_friction-v1": "envs.locomotion.terrains:HalfCheetahFriction",
    "half_cheetah_gaps-v1": "envs.locomotion.terrains:HalfCheetahGaps",
    "half_cheetah_gravity-v1": "envs.locomotion.faults:HalfCheetahGravity",
    "half_cheetah_late_sensors-v1": "envs.locomotion.faults:HalfCheetahLateSensors",
    "half_cheetah_mixed-v1": "envs.locomotion.terrains:HalfCheetahMixed",
    "half_cheetah_mixed_scan-v1": "envs.locomotion.terrains:HalfCheetahMixedScan",
    "half_cheetah_motor_fails-v1": "envs.locomotion.faults:HalfCheetahMotorFails",
    "half_cheetah_payload-v1": "envs.locomotion.faults:HalfCheetahPayload",
    "half_cheetah_rand_params-v1": "envs.locomotion.half_cheetah:HalfCheetahRandParams",
    "half_cheetah_rough-v1": "envs.locomotion.terrains:HalfCheetahRough",
    "half_cheetah_slope-v1": "envs.locomotion.terrains:HalfCheetahSlope",
    "half_cheetah_steps-v1": "envs.locomotion.terrains:HalfCheetahSteps",
    "half_cheetah_vel-v1": "envs.locomotion.half_cheetah:HalfCheetahVel",
    "half_cheetah_vel_u03-v1": "envs.locomotion.half_cheetah:HalfCheetahVelU03",
    "half_cheetah_waves-v1": "envs.locomotion.terrains:HalfCheetahWaves",
    "half_cheetah_weak_motor-v1": "envs.locomotion.faults:HalfCheetahWeakMotor",
    "half_cheetah_wind-v1": "envs.locomotion.faults:HalfCheetahWind",
    "hopper_rand_params-v1": "envs.locomotion.hopper:HopperRandParams",
    "hopper_rand_params_independent-v1": "envs.locomotion.hopper:HopperRandParamsIndependent",
    "hopper_vel-v1": "envs.locomotion.hopper:HopperVel",
    "humanoid_dir-v1": "envs.locomotion.humanoid:HumanoidDir",
    "point_nav-v1": "envs.navigation.point_nav:PointNav",
    "point_robot-v1": "envs.navigation.point_robot:PointRobot",
    "sparse_point_robot-v1": "envs.navigation.point_robot:SparsePointRobot",
    "tabular_mdp-v1": "envs.tabular.tabular_mdp:TabularMDP",
    "walker2d_friction-v1": "envs.locomotion.terrains:Walker2dFriction",
    "walker2d_gaps-v1": "envs.locomotion.terrains:Walker2dGaps",
    "walker2d_mixed-v1": "envs.locomotion.terrains:Walker2dMixed",
    "walker2d_mixed_scan-v1": "envs.locomotion.terrains:Walker2dMixedScan",
    "walker2d_rand_params-v1": "envs.locomotion.walker2d:Walker2dRandParams",
    "walker2d_rand_params_independent-v1": "envs.locomotion.walker2d:Walker2dRandParamsIndependent",
    "walker2d_rough-v1": "envs.locomotion.terrains:Walker2dRough",
    "walker2d_slope-v1": "envs.locomotion.terrains:Walker2dSlope",
    "walker2d_steps-v1": "envs.locomotion.terrains:Walker2dSteps",
    "walker2d_vel-v1": "envs.locomotion.walker2d:Walker2dVel",
    "walker2d_waves-v1": "envs.locomotion.terrains:Walker2dWaves",
}


def make_env(family: str, **parameters: Any) -> gymnasium.Env:
    """A single environment of a listed family: of the task with these parameters, else of its first training draw."""
    from importlib import import_module

    import numpy as np

    module, _, name = FAMILIES[family].partition(":")
    maker = getattr(import_module(module), name)()
    task = maker.task(**parameters) if parameters else maker.sample(1, np.random.default_rng(0), "train")[0]
    return maker.make_env(task)


for _name in FAMILIES:
    if f"acclimate/{_name}" not in gymnasium.registry:
        gymnasium.register(f"acclimate/{_name}", entry_point="envs:make_env", kwargs={"family": _name})
