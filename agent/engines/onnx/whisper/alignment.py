"""When each token was spoken, from the decoder's attention to the audio: openai/whisper's `timing.py`, in numpy.

The weights of the alignment heads are normalized over the tokens, smoothed by a median filter along time, averaged, and
the cheapest monotonic path through them (dynamic time warping) says at which position each token begins.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Route = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

_DIAGONAL: Final = 0
_DOWN: Final = 1
_RIGHT: Final = 2


def attention_matrix(weights: Matrix, *, filter_width: int) -> Matrix:
    """How much each token attends to each position, compared to the other tokens: float32 [tokens, positions].

    `weights` is float32 [heads, tokens, positions]: of the tokens of the text and of the audio without its padding.
    """
    matrix = np.zeros(weights.shape[1:], dtype=np.float32)
    for head in weights:  # one at a time: the filter takes ten times the memory of what it filters
        shares = head / head.sum(axis=-1, keepdims=True)  # the softmax was over the padding, too
        spread = shares.std(axis=0)
        matrix += median_filter((shares - shares.mean(axis=0)) / np.where(spread == 0, 1, spread), filter_width)
    return matrix / np.float32(len(weights))


def token_starts(matrix: Matrix) -> npt.NDArray[np.int64]:
    """The position (20 ms) at which each token of an `attention_matrix` begins: int64 [tokens]."""
    rows, columns = warp(-matrix)
    begins = np.concatenate(([True], np.diff(rows) > 0))
    return columns[begins]


def median_filter(values: Matrix, width: int) -> Matrix:
    """The median of `width` (odd) neighbors along the last axis, mirrored at the ends; the shape stays.

    Neighbors are compared as whole arrays, in a sorting network that stops at the median: ten times as fast as sorting
    each window.
    """
    reach = width // 2
    if reach == 0 or values.shape[-1] <= reach:
        return values
    edges = [(0, 0)] * (values.ndim - 1) + [(reach, reach)]
    padded = np.pad(values, edges, mode="reflect")
    length = values.shape[-1]
    shifted = [padded[..., start : start + length].copy() for start in range(2 * reach + 1)]
    lower = np.empty_like(values)
    for last in range(len(shifted) - 1, reach - 1, -1):
        for index in range(last):  # the largest of those left moves to the end
            low, high = shifted[index], shifted[index + 1]
            np.minimum(low, high, out=lower)
            np.maximum(low, high, out=high)
            low[...] = lower
    return shifted[reach]


def warp(costs: Matrix) -> Route:
    """The cheapest path from the first corner to the last of `costs` [rows, columns], in steps right, down or both.

    Cells of one anti-diagonal do not depend on each other: each is computed at once.
    """
    rows, columns = costs.shape
    moves = np.full((rows + columns - 1, rows), _DIAGONAL, dtype=np.uint8)
    # The sums along the diagonal before last and the last, by row; one more at the front for the row above the first.
    before = np.full(rows + 1, np.inf)
    last = np.full(rows + 1, np.inf)
    before[0] = 0.0
    for diagonal in range(rows + columns - 1):
        first, end = max(0, diagonal - columns + 1), min(rows, diagonal + 1)
        here = np.arange(first, end)
        both, down, right = before[first:end], last[first:end], last[first + 1 : end + 1]
        straight = (both < down) & (both < right)
        downward = (down < both) & (down < right)
        moves[diagonal, first:end] = np.where(straight, _DIAGONAL, np.where(downward, _DOWN, _RIGHT))
        sums = np.where(straight, both, np.where(downward, down, right))
        current = np.full(rows + 1, np.inf)
        current[first + 1 : end + 1] = sums + costs[here, diagonal - here]
        before, last = last, current
    return _back(moves, rows, columns)


def _back(moves: npt.NDArray[np.uint8], rows: int, columns: int) -> Route:
    row, column = rows - 1, columns - 1
    path = [(row, column)]
    while row or column:
        move = moves[row + column, row]
        if row == 0 or (move == _RIGHT and column):
            column -= 1
        elif column == 0 or move == _DOWN:
            row -= 1
        else:
            row, column = row - 1, column - 1
        path.append((row, column))
    taken = np.array(path[::-1], dtype=np.int64)
    return taken[:, 0], taken[:, 1]
