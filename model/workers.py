"""Several processes that train one model, each on its part of every batch (torchrun's)."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor


@dataclass(frozen=True)
class Workers:
    """This process, number `rank` of `count`; of one alone, nothing is sent anywhere."""

    rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009  # immutable

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes checkpoints, the model and the log."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, which is the same in each."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def sum_rows(self, sparse: Tensor) -> Tensor:
        """The sum over all processes of a sparse (V, E), of which each has some rows.

        Those rows alone are sent: as a dense tensor the vectors of words are 20 MB a step.
        """
        if self.count == 1:
            return sparse
        sparse = sparse.coalesce()
        numbers, values = sparse.indices()[0], sparse.values()
        counts = [int(one) for one in self._gather(numbers.new_tensor([len(numbers)]))]
        return torch.sparse_coo_tensor(
            self._gather_rows(numbers, counts)[None],
            self._gather_rows(values, counts),
            sparse.shape,
            check_invariants=False,
        ).coalesce()

    def _gather_rows(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all processes, one after the other; `counts` says how many each has."""
        # all send as much as the one that has most
        padding = rows.new_zeros(max(counts) - len(rows), *rows.shape[1:])
        found = self._gather(torch.cat([rows, padding]))
        return torch.cat([one[:count] for one, count in zip(found, counts, strict=True)])

    def _gather(self, tensor: Tensor) -> list[Tensor]:
        """What each process has, which is of one shape."""
        found = [torch.empty_like(tensor) for _ in range(self.count)]
        torch.distributed.all_gather(found, tensor)
        return found

    def copy(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by that of the process that leads."""
        if self.count > 1:
            for tensor in tensors:
                sent = tensor.to(self.device)  # NCCL takes tensors of the GPU alone
                torch.distributed.broadcast(sent, 0)
                tensor.copy_(sent)


@contextmanager
def join_workers(environ: Mapping[str, str] = os.environ) -> Iterator[Workers]:
    """The processes that torchrun started, or this one alone.

    Form of the environment: https://docs.pytorch.org/docs/stable/elastic/run.html
    """
    rank, count = int(environ.get("RANK", "0")), int(environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if count == 1:
        yield Workers(device=device)
        return
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Workers(rank, count, device)
    finally:
        torch.distributed.destroy_process_group()
