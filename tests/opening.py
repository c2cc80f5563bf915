"""What tests of opened tables share."""

import numpy as np


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def rows_of(table, rows):
    return table.read(np.asarray(rows), table.names)
