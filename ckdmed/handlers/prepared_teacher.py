"""No training of a student by a teacher that is still as it was initialised."""

from __future__ import annotations

from ignite.engine import Engine, Events
from torch import nn

from ckdmed.networks.prepared import is_prepared

__all__ = ["PreparedTeacher"]


class PreparedTeacher:
    """Refuse a training whose teacher was neither trained nor loaded: the student would learn random outputs.

    A bundle's ``run`` prepares the teacher before it calls its trainer; whoever calls the trainer alone, as MONAI's
    federated learning does, has to see to it.

    Args:
        network: the teacher's network, or the networks of several.

    Attach to the trainer, before all handlers that look at the teacher.

    Raises:
        RuntimeError: at the start, see above.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Register on the trainer's ``STARTED``."""
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, _: Engine) -> None:
        if not is_prepared(self.network):
            raise RuntimeError(
                "the teacher was neither trained nor loaded, so the student would learn random outputs: run the whole "
                "configuration in place of its trainer alone, or give the teacher's checkpoint (teacher_checkpoint, of "
                "several teachers teacher_checkpoints)."
            )
