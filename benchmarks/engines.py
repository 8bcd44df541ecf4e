"""Which engine computes an LSTM fastest on this machine: `python -m benchmarks.engines`.

One direction-pair of the default size over one review of 230 words, and a few side by side, in
each engine; what the product uses is the first. ONNX Runtime is not among the project's packages:
its rows need `pip install onnx onnxruntime`, and torch.compile's a C++ compiler; a row that cannot
be measured says why.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import tables
from benchmarks.record import record
from benchmarks.served import REVIEW_WORDS, VOCABULARY_SIZE

DIM = 128
BATCHES = (1, 4)
REPEATS = 10
ROUNDS = 6
Judge = Callable[[Tensor], NDArray[np.float32]]


class Reader(nn.Module):
    """The costly part of the model: both directions, the strongest response, one number."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY_SIZE, DIM)
        self.lstm = nn.LSTM(DIM, DIM, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * DIM, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B) of `tokens` (B, T)."""
        states, _ = self.lstm(self.embedding(tokens))  # (B, T, 2H)
        logits: Tensor = self.output(states.amax(dim=1))  # (B, 1)
        return logits.squeeze(1)


def eager(reader: Reader) -> Judge:
    def judge(tokens: Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            answer: NDArray[np.float32] = reader(tokens).numpy()
        return answer

    return judge


def directions(reader: Reader) -> Judge:
    """An LSTM a direction, the second in a thread of its own."""
    there, back = (nn.LSTM(DIM, DIM, batch_first=True) for _ in range(2))
    for lstm, suffix in ((there, "l0"), (back, "l0_reverse")):
        lstm.load_state_dict(
            {
                name: getattr(reader.lstm, name.removesuffix("l0") + suffix)
                for name in lstm.state_dict()
            }
        )
        lstm.requires_grad_(False)
    thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))

    def backwards(words: Tensor) -> Tensor:
        with torch.inference_mode():
            states: Tensor = back(words.flip(1))[0]
        return states

    def judge(tokens: Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            words = reader.embedding(tokens)  # (B, T, E)
            later = thread.submit(backwards, words)
            states = there(words)[0], later.result()
            answer: NDArray[np.float32] = reader.output(torch.cat(states, 2).amax(dim=1)).numpy()
        return answer[:, 0]

    return judge


def reduced(reader: Reader) -> Judge:
    """In bfloat16: half of the bytes to fetch, on a processor that multiplies such numbers."""
    lstm = copy.deepcopy(reader.lstm).bfloat16()

    def judge(tokens: Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            states, _ = lstm(reader.embedding(tokens).bfloat16())  # (B, T, 2H)
            answer: NDArray[np.float32] = reader.output(states.amax(dim=1).float()).numpy()
        return answer[:, 0]

    return judge


def compiled(reader: Reader) -> Judge:
    faster = torch.compile(reader)

    def judge(tokens: Tensor) -> NDArray[np.float32]:
        with torch.no_grad():
            answer: NDArray[np.float32] = faster(tokens).numpy()
        return answer

    return judge


def table(reader: Reader) -> Judge:
    """Each word's share of the gates looked up, so only the step from state to state is left."""
    halves = []
    for suffix in ("l0", "l0_reverse"):
        weight, inner, bias, more = (
            getattr(reader.lstm, f"{name}_{suffix}").detach()
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        gates = reader.embedding.weight.detach() @ weight.T + bias + more  # (V, 4H)
        halves.append((gates.numpy(), np.ascontiguousarray(inner.T.numpy())))
    out = reader.output.weight.detach().numpy()[0], reader.output.bias.item()

    def judge(tokens: Tensor) -> NDArray[np.float32]:
        ids = tokens.numpy()
        strongest = [
            strongest_state(gates[row], inner)
            for (gates, inner), row in zip(halves, (ids, ids[:, ::-1]), strict=True)
        ]
        logits: NDArray[np.float32] = np.concatenate(strongest, axis=1) @ out[0] + out[1]
        return logits

    return judge


def strongest_state(gates: NDArray[np.float32], inner: NDArray[np.float32]) -> Any:
    """The largest of each number of state (B, H), for the words' `gates` (B, T, 4H)."""
    state: Any
    cell: Any
    state = cell = np.zeros((len(gates), DIM), dtype=np.float32)
    best = np.full_like(state, -1)
    for step in range(gates.shape[1]):
        sums = gates[:, step] + state @ inner
        opened = 1 / (1 + np.exp(-sums))
        cell = opened[:, DIM : 2 * DIM] * cell + opened[:, :DIM] * np.tanh(
            sums[:, 2 * DIM : 3 * DIM]
        )
        state = opened[:, 3 * DIM :] * np.tanh(cell)
        np.maximum(best, state, out=best)
    return best


def onnx_runtime(reader: Reader, *, int8: bool = False, threads: int = 1) -> Judge:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reader.onnx"
        write_onnx(reader, path)
        if int8:
            small = path.with_name("int8.onnx")
            quantize_dynamic(path, small, op_types_to_quantize=["LSTM"],
                             weight_type=QuantType.QInt8)  # fmt: skip
            path = small
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options)

    def judge(tokens: Tensor) -> NDArray[np.float32]:
        feed = {"tokens": np.ascontiguousarray(tokens.numpy().T)}
        logits: NDArray[np.float32] = session.run(None, feed)[0][:, 0]
        return logits

    return judge


def both(reader: Reader, name: str) -> NDArray[np.float32]:
    """Both directions' weights, the gates in ONNX's order: input, output, forget, cell."""
    parts = []
    for suffix in ("l0", "l0_reverse"):
        gates = np.split(getattr(reader.lstm, f"{name}_{suffix}").detach().numpy(), 4)
        parts.append(np.concatenate([gates[0], gates[3], gates[1], gates[2]]))
    return np.stack(parts)


def write_onnx(reader: Reader, path: Path) -> None:
    """The reader as an ONNX graph; by hand, since the exporter wants a package of its own."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "embedding": reader.embedding.weight.detach().numpy(),
        "W": both(reader, "weight_ih"),
        "R": both(reader, "weight_hh"),
        "B": np.concatenate([both(reader, "bias_ih"), both(reader, "bias_hh")], axis=1),
        "time": np.array([0]),
        "out": reader.output.weight.detach().numpy(),
        "bias": reader.output.bias.detach().numpy(),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "tokens"], ["words"]),  # (T, B, E)
        helper.make_node("LSTM", ["words", "W", "R", "B"], ["states"], hidden_size=DIM,
                         direction="bidirectional"),  # (T, 2, B, H)
        helper.make_node("ReduceMax", ["states", "time"], ["most"], keepdims=0),  # (2, B, H)
        helper.make_node("Transpose", ["most"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("Flatten", ["turned"], ["flat"], axis=1),  # (B, 2H)
        helper.make_node("Gemm", ["flat", "out", "bias"], ["logits"], transB=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "reader",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["T", "B"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)


CHOSEN = "torch eager, a thread a review"
ENGINES: dict[str, tuple[int, Callable[[Reader], Judge]]] = {
    CHOSEN: (1, eager),
    "torch eager, a thread a direction": (1, directions),
    "torch eager, two threads a review": (2, eager),
    "torch eager, bfloat16": (1, reduced),
    "torch.compile": (1, compiled),
    "precomputed embedding x input-gate table": (1, table),
    "ONNX Runtime fp32": (1, onnx_runtime),
    "ONNX Runtime fp32, two threads": (2, partial(onnx_runtime, threads=2)),
    "ONNX Runtime int8": (1, partial(onnx_runtime, int8=True)),
}


WHY = (
    "ONNX Runtime's fp32 saves a tenth of the LSTM's time, a twentieth of a request's, and is a "
    "second engine to keep equal to the model that was trained, without the gradients that explain "
    "a verdict. Its int8 is further than 1e-3 from that model. bfloat16 would make a verdict "
    "depend on the processor. A thread a direction gains only where a second core is idle, and "
    "costs where it is not; sharing each multiplication between threads costs more."
)


def measure(engines: dict[str, tuple[int, Judge]], expected: Judge) -> dict[str, Any]:
    """Milliseconds a review by batch, reviews a second from two threads, and how far off.

    Engines take turns, and each has its quietest round: other work on the machine comes and goes.
    """
    sample = reviews(64)
    rows: dict[str, dict[str, Any]] = {
        name: {"most_off": float(f"{np.abs(sigmoid(judge(sample)) - expected_of).max():.2g}")}
        for expected_of in [sigmoid(expected(sample))]
        for name, (_, judge) in engines.items()
    }
    for _ in range(ROUNDS):
        for name, (threads, judge) in engines.items():
            torch.set_num_threads(threads)
            for batch in BATCHES:
                times = sorted(timings(judge, reviews(batch)))
                _keep(rows[name], f"batch_{batch}_ms_a_review", _middle_ms(times, batch), min)
            if threads == 1:
                _keep(rows[name], "two_at_once_per_s", side_by_side(judge), max)
    return rows


def _keep(row: dict[str, Any], key: str, value: float, better: Callable[..., float]) -> None:
    row[key] = round(better(value, row.get(key, value)), 3)


def _middle_ms(times: list[float], batch: int) -> float:
    return 1000 * times[len(times) // 2] / batch


def timings(judge: Judge, tokens: Tensor) -> Iterator[float]:
    for number in range(5 + REPEATS):
        started = time.perf_counter()
        judge(tokens)
        if number >= 5:
            yield time.perf_counter() - started


def side_by_side(judge: Judge) -> float:
    """Reviews a second when two threads judge one each, as the server's do."""
    single = reviews(1)
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(judge, [single] * 4))
        started = time.perf_counter()
        list(pool.map(judge, [single] * 2 * REPEATS))
        return 2 * REPEATS / (time.perf_counter() - started)


def reviews(count: int) -> Tensor:
    return torch.randint(2, VOCABULARY_SIZE, (count, REVIEW_WORDS))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    answer: NDArray[np.float32] = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return answer


def main() -> int:
    torch.manual_seed(1)
    reader = Reader().eval().requires_grad_(False)
    reader.output.weight *= 20  # so that probabilities differ, as a trained model's do
    missing: dict[str, Any] = {}
    engines: dict[str, tuple[int, Judge]] = {}
    for name, (threads, make) in ENGINES.items():
        try:
            judge = make(reader)
            judge(reviews(2))
            engines[name] = threads, judge
        except Exception as error:  # an engine that is not here is a row, not an end
            missing[name] = {"not_measured": f"{type(error).__name__}: {error}".splitlines()[0]}
    rows = measure(engines, eager(reader)) | missing
    for name, row in rows.items():
        print(f"{name:<42}", ", ".join(f"{key} {value}" for key, value in row.items()))
    figures = {"engines": rows, "chosen": CHOSEN, "why": WHY, "dim": DIM}
    path = record("engines", figures)
    tables.write()
    print(f"written to {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
