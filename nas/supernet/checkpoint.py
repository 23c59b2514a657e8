"""The training state on disk, one folder an epoch, written by orbax."""

import shutil
from pathlib import Path
from typing import Any

import jax

from search_spaces.errors import RunError

State = dict[str, Any]


class Checkpoints:
    """Checkpoints in a folder; the newest two are kept, in case the last one is torn.

    Args:
        folder: made when the first checkpoint is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def epochs(self) -> list[int]:
        """Epochs after which a complete checkpoint exists, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdigit())

    def save(self, epoch: int, state: State) -> None:
        """Write the state after an epoch: orbax writes aside and renames, so it is whole or not."""
        import orbax.checkpoint as ocp

        with ocp.StandardCheckpointer() as writer:
            writer.save(self.folder / str(epoch), state, force=True)
        for old in self.epochs()[:-2]:
            shutil.rmtree(self.folder / str(old))

    def restore(self, start: State) -> State:
        """The newest state, or `start` where there is none.

        Raises:
            RunError: the checkpoint does not fit the network that the experiment describes.
        """
        epochs = self.epochs()
        if not epochs:
            return start
        import orbax.checkpoint as ocp

        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, start)
        newest = self.folder / str(epochs[-1])
        try:
            with ocp.StandardCheckpointer() as reader:
                return reader.restore(newest, like)
        except (ValueError, KeyError) as error:
            raise RunError(
                f"{newest}: the checkpoint does not fit this experiment: {error}"
            ) from None
