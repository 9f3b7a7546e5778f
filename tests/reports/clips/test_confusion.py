import numpy as np
import pytest
from PIL import Image

from bench.metrics import Predictions
from reports.figures.classes import count_confusions, save_confusion_figure
from tests.toys import CARD

FOUND = Predictions(("a", "b", "c"), np.array([0, 2, 2]), np.eye(3, dtype=np.float32)[[0, 1, 2]])


def test_rows_are_true_classes_and_columns_predicted_ones():
    assert count_confusions(FOUND, 3).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]


@pytest.mark.parametrize("sample", [False, True])
def test_the_picture_is_written_whole(tmp_path, sample):
    save_confusion_figure(tmp_path, CARD, FOUND, sample)
    (path,) = tmp_path.iterdir()
    assert path.name == "confusion.png" and min(Image.open(path).size) > 200
