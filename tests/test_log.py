from sbmae_jax.training.log import METRICS, Log, read_metrics


def test_rows_come_back_by_stage_and_step(tmp_path):
    log = Log(tmp_path)
    log.scalars("b", 2, {"loss": 0.5})
    log.scalars("a", 1, {"loss": 1.0})
    log.scalars("b", 1, {"loss": 0.7})
    log.close()
    assert [row["step"] for row in read_metrics(tmp_path)["b"]] == [1, 2]
    assert read_metrics(tmp_path)["a"][0]["loss"] == 1.0
    assert any((tmp_path / "tensorboard").iterdir())


def test_steps_repeated_after_an_interruption_count_once_and_half_lines_not_at_all(tmp_path):
    for loss in (0.5, 0.4):
        log = Log(tmp_path)
        log.scalars("a", 1, {"loss": loss})
        log.close()
    with open(tmp_path / METRICS, "a") as file:
        file.write('{"stage": "a", "st')
    assert [row["loss"] for row in read_metrics(tmp_path)["a"]] == [0.4]


def test_a_run_without_a_log_has_no_rows(tmp_path):
    assert read_metrics(tmp_path) == {}
