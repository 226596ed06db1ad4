"""One process of those that a test lets torchrun start: labels, folder of matrices, output."""

import sys

from small_message_passing import small

from pyscf_mlguess.models.message_passing import training

if __name__ == "__main__":
    labels, matrices, output = sys.argv[1:]
    with small():
        training.train([labels], output, matrices, "fock matrix", jobs=1, size="tiny", linear=None, epochs=2,
                       progress=False)
