from striate.diagram.place import DiagramError, Place

TEXT = "INPUT\n  => CONV(3)\n  => FC"


def test_lines_and_columns_count_from_one() -> None:
    assert str(Place(TEXT, 0)) == "line 1, column 1"
    assert str(Place(TEXT, TEXT.index("CONV"))) == "line 2, column 6"
    assert str(Place(TEXT, len(TEXT))) == "line 3, column 8"


def test_the_caret_stands_under_the_character() -> None:
    source, caret = Place(TEXT, TEXT.index("CONV")).excerpt().split("\n")
    assert source == "      => CONV(3)"
    assert source[caret.index("^")] == "C"


def test_a_long_line_is_cut_around_the_caret() -> None:
    text = "a" * 5_000 + "X" + "b" * 5_000
    source, caret = Place(text, 5_000).excerpt().split("\n")
    assert len(source) <= 104
    assert source[caret.index("^")] == "X"


def test_control_characters_of_the_source_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in Place("INPUT \x1b[31m=> CONV", 6).excerpt()


def test_the_message_has_place_cause_and_surroundings() -> None:
    error = DiagramError("no", Place(TEXT, 6), hint="try", inside=("block(3), line 9", "repeat 2 of 5"))
    first, *_ = str(error).split("\n")
    assert first == "line 2, column 1: no (in block(3), line 9) (in repeat 2 of 5)"
    assert (error.line, error.column, error.hint, error.exit_code) == (2, 1, "try", 2)
