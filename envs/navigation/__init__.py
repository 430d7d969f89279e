"""Families of points that move in the plane towards a hidden goal."""

# Lazy, so that what a family needs (MuJoCo, say) is imported only by those who use it.
FAMILIES = {
    "point_nav-v1": "envs.navigation.point_nav:PointNav",
    "point_robot-v1": "envs.navigation.point_robot:PointRobot",
    "sparse_point_robot-v1": "envs.navigation.point_robot:SparsePointRobot",
}
