"""Which frames form which batch: a function of seed and epoch alone, on every machine and in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


def seed_of(*parts: int) -> int:
    """A 63-bit seed: a hash of a tuple of integers, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of ``(epoch, index)``, shuffled by seed and epoch alone, so that a resumed run needs no sampler state.

    In a distributed run, each process gets its share of every batch; together the shares are the batches of a run in
    one process. An incomplete last batch is dropped, unless it is the only one.

    Args:
        count: items of the data set.
        batch_size: images of a batch, all processes together.
        seed: of the recipe.
        rank, processes: this process's number, from 0, and how many there are.
        first_epoch, first_batch: where a resumed run goes on, counted from 0.

    Raises:
        ValueError: the batch cannot be shared evenly, or there are fewer items than processes.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        first_epoch: int = 0,
        first_batch: int = 0,
    ) -> None:
        if count < processes:
            raise ValueError(
                f"{count} training frames cannot be shared by {processes} processes: start at most {count}, by "
                "--devices and --nodes"
            )
        batch_size = min(batch_size, count - count % processes) if count < batch_size else batch_size
        if batch_size % processes:
            raise ValueError(
                f"a batch of {batch_size} images cannot be shared evenly by {processes} processes: take a multiple of "
                f"{processes}"
            )
        self._count, self.batch_size, self._seed = count, batch_size, seed
        self._rank, self._processes = rank, processes
        self._epoch, self._first = first_epoch, (first_epoch, first_batch)

    def __len__(self) -> int:
        return self._count // self.batch_size

    @property
    def sampler(self) -> EpochBatches:
        """Itself: Lightning calls ``set_epoch`` on a batch sampler's ``sampler``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self._epoch
        generator = torch.Generator().manual_seed(seed_of(self._seed, epoch))
        order = torch.randperm(self._count, generator=generator).tolist()
        for batch in range(self._first[1] if epoch == self._first[0] else 0, len(self)):
            mine = order[batch * self.batch_size : (batch + 1) * self.batch_size][self._rank :: self._processes]
            yield [(epoch, index) for index in mine]
