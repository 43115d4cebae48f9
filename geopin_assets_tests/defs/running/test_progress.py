from geopin_assets.defs.running.materialize import time_left


def test_the_time_left_is_reckoned_at_the_pace_so_far_and_not_before_there_is_one() -> None:
    assert time_left(30.0, 10, 40) == "about 90 s left"
    assert time_left(30.0, 40, 40) == "about 0 s left"
    assert time_left(600.0, 10, 40) == "about 30 min left"
    assert time_left(3600.0, 10, 40) == "about 3.0 h left"
    assert time_left(30.0, 0, 40) == "time left unknown"
