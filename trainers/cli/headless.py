"""Drawing on machines without a screen."""

from __future__ import annotations


def draw_without_a_screen() -> None:
    """Choose how MuJoCo draws, before anything imports it."""
    from envs.mujoco.camera import NoCamera, choose_gl
    from trainers.errors import DrawingError

    try:
        choose_gl()
    except NoCamera as error:
        raise DrawingError(str(error)) from error
