"""Families of points that move in the plane towards a hidden goal."""

# Import paths, so that MuJoCo and other packages that a family needs are imported when it is first used.
FAMILIES = {
    "point_nav-v1": "envs.navigation.point_nav:PointNav",
    "point_robot-v1": "envs.navigation.point_robot:PointRobot",
    "sparse_point_robot-v1": "envs.navigation.point_robot:SparsePointRobot",
}
