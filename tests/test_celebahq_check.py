"""What a damaged folder of CelebAMask-HQ is told before anything is read."""

import shutil

import numpy as np
import pytest
from celeba_folder import change, load, save_mask

from sbmae_jax.data.celebahq.check import check_folder
from sbmae_jax.data.celebahq.layout import ATTRIBUTE_FILE, MAPPING_FILE, image_path, mask_path


def edit(file, old, new):
    return lambda root: change(root / file, old, new)


def copy(n, name):
    return lambda root: shutil.copy(image_path(root, n), image_path(root, n).with_name(name))


def add_mask(n, part, folder=0):
    def add(root):
        path = mask_path(root, n, part)
        save_mask(path.parents[1] / str(folder) / path.name, np.s_[:])

    return add


OF_ATTRIBUTES, OF_MAPPING = "rows of attributes", "rows of the mapping"
DAMAGES = {
    "faces missing in CelebA-HQ-img (4)": lambda root: image_path(root, 4).unlink(),
    "misnamed or misplaced files (CelebA-HQ-img/04.jpg)": copy(4, "04.jpg"),
    "faces in CelebA-HQ-img that have no row of attributes (12)": copy(4, "12.jpg"),
    "faces without any mask (3)": lambda root: mask_path(root, 3, "skin").unlink(),
    "misplaced files (CelebAMask-HQ-mask-anno/0/00001_chin.png)": add_mask(1, "chin"),
    "misplaced files (CelebAMask-HQ-mask-anno/1/00001_hat.png)": add_mask(1, "hat", 1),
    "masks of unknown faces (1/02001_hat.png)": add_mask(2001, "hat", 1),
    "tables missing (CelebA-HQ-to-CelebA-mapping.txt)": lambda root: (root / MAPPING_FILE).unlink(),
    "tables missing (CelebAMask-HQ-attribute-anno.txt)": lambda root: (
        root / ATTRIBUTE_FILE
    ).unlink(),
    "wrong first lines of the attribute file ('x12'": edit(ATTRIBUTE_FILE, "12\n", "x12\n"),
    f"wrong numbers of {OF_ATTRIBUTES} (12 instead of 13)": edit(ATTRIBUTE_FILE, "12\n", "13\n"),
    "wrong second lines of the attribute file": edit(ATTRIBUTE_FILE, "Bald", "Bold"),
    f"{OF_ATTRIBUTES} with values other than -1 and 1 (0.jpg)": edit(ATTRIBUTE_FILE, " 1 ", " 2 "),
    f"{OF_ATTRIBUTES} that cannot be read (row 3: 3.png": edit(
        ATTRIBUTE_FILE, "\n3.jpg", "\n3.png"
    ),
    f"faces with two {OF_ATTRIBUTES} (3)": edit(ATTRIBUTE_FILE, "\n4.jpg", "\n3.jpg"),
    "faces without a row of attributes (4)": edit(ATTRIBUTE_FILE, "\n4.jpg", "\n3.jpg"),
    f"{OF_ATTRIBUTES} numbered beyond the first line (12.jpg)": edit(
        ATTRIBUTE_FILE, "\n4.j", "\n12.j"
    ),
    f"{OF_MAPPING} where orig_file is not orig_idx + 1 (6)": edit(
        MAPPING_FILE, "\t100\t", "\t99\t"
    ),
    f"{OF_MAPPING} with the orig_idx of another (7)": edit(
        MAPPING_FILE, "\t101\t000102", "\t100\t000101"
    ),
    f"{OF_MAPPING} with an orig_idx that CelebA does not have (5)": edit(
        MAPPING_FILE, "\t202598\t202599", "\t202599\t202600"
    ),
    f"faces with two {OF_MAPPING} (6)": edit(MAPPING_FILE, "\n7\t", "\n6\t"),
    "faces missing in the mapping (7)": edit(MAPPING_FILE, "\n7\t", "\n6\t"),
    f"{OF_MAPPING} that cannot be read (row 8: 7": edit(MAPPING_FILE, "000102.jpg", "x.jpg"),
}


@pytest.mark.parametrize("said", DAMAGES)
def test_damage_is_found_before_anything_is_read(celeba, said):
    DAMAGES[said](celeba)
    with pytest.raises(ValueError, match="is damaged: ") as error:
        load("train")
    assert said in str(error.value)
    assert not (celeba.parent / "prepared").exists()


def test_all_damage_is_reported_together_with_counts_and_examples(celeba):
    for n in range(5):
        image_path(celeba, n).unlink()
    change(celeba / MAPPING_FILE, "\t105\t", "\t106\t")
    with pytest.raises(ValueError, match="is damaged: ") as error:
        check_folder(celeba, official=False)
    assert "5 faces missing in CelebA-HQ-img (0, 1, 2, ...)" in str(error.value)
    assert "1 rows of the mapping where orig_file is not orig_idx + 1 (11)" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_second_layout_is_checked_too(celeba):
    other = celeba.parent / "split"
    for short in ("train", "val", "test"):
        (other / f"{short}_img").mkdir(parents=True)
        (other / f"{short}_mask").mkdir()
    shutil.copy(celeba / ATTRIBUTE_FILE, other)
    for short in ("train", "val"):
        shutil.copy(image_path(celeba, 1), other / f"{short}_img" / "1.jpg")
        shutil.copy(mask_path(celeba, 1, "hair"), other / f"{short}_mask" / "1.png")
    shutil.copy(image_path(celeba, 2), other / "test_img" / "2.jpg")
    shutil.copy(mask_path(celeba, 2, "hair"), other / "test_mask" / "5.png")
    with pytest.raises(ValueError, match="is damaged: ") as error:
        check_folder(other, official=False)
    assert "1 faces in two splits (1)" in str(error.value)
    assert "1 faces without any mask (test_img/2.jpg)" in str(error.value)
    assert "1 masks without an image (test_mask/5.png)" in str(error.value)
    assert "11 faces missing in the image folders (0, 2, 3, ...)" in str(error.value)


def test_the_official_data_have_30000_faces(celeba):
    with pytest.raises(ValueError, match="'12', not 30,000"):
        load("train", official=True)
