"""Write the TensorFlow 1 checkpoint beside this script: run it once, with TensorFlow installed.

The network is MSI-Net at width 0.01. Weights count upwards from their place in the network; Adam's
slots and the global step are there as training leaves them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from msinet_core.network.msinet import msinet_graph


def main() -> None:
    tf.compat.v1.disable_eager_execution()
    variables = []
    for place, parameter in enumerate(msinet_graph(0.01).parameters):
        values = place + np.arange(parameter.size, dtype=np.float32).reshape(parameter.shape)
        variables.append(tf.compat.v1.get_variable(parameter.name, initializer=values))
    step = tf.compat.v1.train.get_or_create_global_step()
    loss = tf.add_n([tf.reduce_sum(variable) for variable in variables])
    train = tf.compat.v1.train.AdamOptimizer(learning_rate=0.0).minimize(loss, step)
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(train)
        prefix = str(Path(__file__).with_name("tiny_tf1.ckpt"))
        tf.compat.v1.train.Saver().save(session, prefix, write_meta_graph=False, write_state=False)


if __name__ == "__main__":
    main()
