"""What a damaged folder of CelebAMask-HQ is told before anything is read."""

import shutil

import numpy as np
import pytest
from celeba_folder import change, load, save_mask

from sbmae_jax.data.celebahq.check import check_folder
from sbmae_jax.data.celebahq.layout import ATTRIBUTE_FILE, MAPPING_FILE, image_path, mask_path

DAMAGES = {
    "faces missing in CelebA-HQ-img (4)": lambda r: image_path(r, 4).unlink(),
    "misnamed or misplaced files (CelebA-HQ-img/04.jpg)": lambda r: shutil.copy(
        image_path(r, 4), r / "CelebA-HQ-img" / "04.jpg"
    ),
    "faces in CelebA-HQ-img that have no row of attributes (12)": lambda r: shutil.copy(
        image_path(r, 4), image_path(r, 12)
    ),
    "faces without any mask (3)": lambda r: mask_path(r, 3, "skin").unlink(),
    "misnamed or misplaced files (CelebAMask-HQ-mask-anno/0/00001_chin.png)": lambda r: save_mask(
        mask_path(r, 1, "chin"), np.s_[:]
    ),
    "misnamed or misplaced files (CelebAMask-HQ-mask-anno/1/00001_hat.png)": lambda r: save_mask(
        mask_path(r, 2001, "x").with_name("00001_hat.png"), np.s_[:]
    ),
    "masks of unknown faces (1/02001_hat.png)": lambda r: save_mask(
        mask_path(r, 2001, "hat"), np.s_[:]
    ),
    "tables missing (CelebA-HQ-to-CelebA-mapping.txt)": lambda r: (r / MAPPING_FILE).unlink(),
    "tables missing (CelebAMask-HQ-attribute-anno.txt)": lambda r: (r / ATTRIBUTE_FILE).unlink(),
    "wrong first lines of the attribute file ('x12'": lambda r: change(
        r / ATTRIBUTE_FILE, "12\n", "x12\n"
    ),
    "wrong numbers of rows of attributes (12 instead of 13)": lambda r: change(
        r / ATTRIBUTE_FILE, "12\n", "13\n"
    ),
    "wrong second lines of the attribute file": lambda r: change(
        r / ATTRIBUTE_FILE, "Bald", "Bold"
    ),
    "rows of attributes with values other than -1 and 1 (0.jpg)": lambda r: change(
        r / ATTRIBUTE_FILE, " 1 ", " 2 "
    ),
    "rows of attributes that cannot be read (row 3: 3.png": lambda r: change(
        r / ATTRIBUTE_FILE, "\n3.jpg", "\n3.png"
    ),
    "faces with two rows of attributes (3)": lambda r: change(
        r / ATTRIBUTE_FILE, "\n4.jpg", "\n3.jpg"
    ),
    "faces without a row of attributes (4)": lambda r: change(
        r / ATTRIBUTE_FILE, "\n4.jpg", "\n3.jpg"
    ),
    "rows of attributes numbered beyond the first line (12.jpg)": lambda r: change(
        r / ATTRIBUTE_FILE, "\n4.jpg", "\n12.jpg"
    ),
    "rows of the mapping where orig_file is not orig_idx + 1 (6)": lambda r: change(
        r / MAPPING_FILE, "\t100\t", "\t99\t"
    ),
    "rows of the mapping with the orig_idx of another (7)": lambda r: change(
        r / MAPPING_FILE, "\t101\t000102", "\t100\t000101"
    ),
    "rows of the mapping with an orig_idx that CelebA does not have (5)": lambda r: change(
        r / MAPPING_FILE, "\t202598\t202599", "\t202599\t202600"
    ),
    "faces with two rows of the mapping (6)": lambda r: change(r / MAPPING_FILE, "\n7\t", "\n6\t"),
    "faces missing in the mapping (7)": lambda r: change(r / MAPPING_FILE, "\n7\t", "\n6\t"),
    "rows of the mapping that cannot be read (row 8: 7": lambda r: change(
        r / MAPPING_FILE, "000102.jpg", "x.jpg"
    ),
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
