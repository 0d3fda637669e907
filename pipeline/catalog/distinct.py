"""Keeps one mention of each URI, the first in the catalog, with all its product ids."""

import numpy as np
import pyarrow as pa

from pipeline.catalog.batches import KEPT
from pipeline.records import Totals


def one_per_uri(mentions: pa.RecordBatch) -> tuple[pa.RecordBatch, Totals]:
    """Keeps the first mention of each URI.

    Args:
        mentions: all mentions of some URIs, of `batches.SCHEMA`, in any order.

    Returns:
        The first mentions by position, with the product ids of all mentions of the URI; none of
        URIs whose rows are finished already. And the counts of all mentions.
    """
    if not mentions.num_rows:
        return mentions, Totals(0, 0, 0)
    codes = mentions["uri"].dictionary_encode().indices.to_numpy()
    positions = mentions["position"].to_numpy()
    order = np.lexsort((positions, codes))
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    firsts = order[starts]
    is_kept = positions == KEPT
    counts = np.where(is_kept, 0, mentions["mentions"].to_numpy())
    counts = np.add.reduceat(counts[order], starts)
    totals = Totals(int(counts.sum()), int(np.count_nonzero(counts)), len(starts))
    if len(starts) < mentions.num_rows:
        mentions = _with_all_ids(mentions, np.split(order, starts[1:]))
    found = firsts[~is_kept[firsts]]
    return mentions.take(pa.array(found[np.argsort(positions[found], kind="stable")])), totals


def _with_all_ids(mentions: pa.RecordBatch, groups: list[np.ndarray]) -> pa.RecordBatch:
    """The batch, in which the first row of each group has the product ids of all its rows."""
    column = mentions["product_ids"]
    if column.null_count == len(column):
        return mentions
    ids = column.to_pylist()
    for group in groups:
        if len(group) > 1:
            united = dict.fromkeys(one for row in group for one in ids[row] or ())
            ids[group[0]] = list(united) or None
    at = mentions.schema.get_field_index("product_ids")
    return mentions.set_column(at, mentions.schema.field(at), pa.array(ids, column.type))
