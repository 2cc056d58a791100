"""Rows of the TensorFlow rule table for orders, products of many, groups and places, each with an example.

Each is a function of x, (3, 4, 3); see `test_tensorflow_rules`.
"""

from __future__ import annotations

import tensorflow as tf

raw = tf.raw_ops
_IDS = tf.constant([1, 0, 1])
_OUTER = tf.constant([1e3, 0.0, 1e3])  # so that the place never differs
_SORTED = tf.constant([0, 0, 1])


def _sparse(function, x):
    return tf.reshape(function(data=x, indices=[0, 2, 1, 0], segment_ids=[0, 0, 1, 1]), [2, 4, 3])


ROWS = {
    "ArgMax": lambda x: x + tf.cast(tf.argmax(x - _OUTER, -1), x.dtype)[..., None],
    "ArgMin": lambda x: x + tf.cast(tf.argmin(x + _OUTER, -1), x.dtype)[..., None],
    "Cross": lambda x: tf.linalg.cross(x, tf.sin(x[:, ::-1])),
    "Cumprod": lambda x: tf.math.cumprod(x, 1, exclusive=True) + tf.math.cumprod(x, 2, reverse=True),
    "CumulativeLogsumexp": lambda x: (
        tf.math.cumulative_logsumexp(x, 1)
        + tf.nn.relu(tf.math.cumulative_logsumexp(x, 1, exclusive=True, reverse=True))
    ),
    "Diag": lambda x: tf.linalg.tensor_diag(x[0, 0]),
    "DiagPart": lambda x: tf.linalg.tensor_diag_part(x[:, 0]),
    "EuclideanNorm": lambda x: tf.math.reduce_euclidean_norm(x, [0, 2]),
    "MatrixDiag": lambda x: raw.MatrixDiag(diagonal=x),
    "MatrixDiagPart": lambda x: raw.MatrixDiagPart(input=x),
    "MatrixSetDiag": lambda x: raw.MatrixSetDiag(input=x, diagonal=tf.sin(x[:, 0])),
    "MatrixSetDiagV3": lambda x: tf.linalg.set_diag(x, tf.sin(x[:, 1])),
    "NthElement": lambda x: raw.NthElement(input=x, n=1) + raw.NthElement(input=x, n=2, reverse=True),
    "Prod": lambda x: tf.reduce_prod(x, [0, 2], keepdims=True),
    "RaggedTensorToTensor": lambda x: tf.reshape(
        tf.RaggedTensor.from_row_splits(x, [0, 1, 1, 3]).to_tensor(), [3, 2, 4, 3]
    ),
    "SegmentMax": lambda x: tf.reshape(raw.SegmentMax(data=x, segment_ids=_SORTED), [2, 4, 3]),
    "SegmentMin": lambda x: tf.reshape(raw.SegmentMin(data=x, segment_ids=_SORTED), [2, 4, 3]),
    "SegmentProd": lambda x: tf.reshape(raw.SegmentProd(data=x, segment_ids=_SORTED), [2, 4, 3]),
    "SparseSegmentMean": lambda x: _sparse(raw.SparseSegmentMean, x),
    "SparseSegmentSqrtN": lambda x: _sparse(raw.SparseSegmentSqrtN, x),
    "SparseSegmentSum": lambda x: _sparse(raw.SparseSegmentSum, x),
    "TensorScatterMax": lambda x: tf.tensor_scatter_nd_max(x, [[0], [1], [0]], tf.sin(x)),
    "TensorScatterMin": lambda x: tf.tensor_scatter_nd_min(x, [[0], [1], [0]], tf.sin(x)),
    "TensorScatterSub": lambda x: tf.tensor_scatter_nd_sub(x, [[0], [1], [0]], tf.sin(x)),
    "TopKV2": lambda x: tf.sort(x, 1) + tf.math.top_k(x, 2).values[..., :1],
    "UnsortedSegmentMax": lambda x: tf.math.unsorted_segment_max(x, _IDS, 2),
    "UnsortedSegmentMin": lambda x: tf.math.unsorted_segment_min(x, _IDS, 2),
    "UnsortedSegmentProd": lambda x: tf.math.unsorted_segment_prod(x, _IDS, 2),
    "Xdivy": lambda x: tf.math.xdivy(x, 3 + tf.sin(x[:, :1])),
    "Xlog1py": lambda x: raw.Xlog1py(x=x + tf.zeros_like(x), y=tf.exp(x[:, ::-1])),
    "Xlogy": lambda x: tf.math.xlogy(x, tf.exp(x[:, :1])),
}
