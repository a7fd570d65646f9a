"""The questions that the guides ask their readers are asked by the quizzes, too."""

from pathlib import Path

import tomllib

from vitrail.learn import find_lesson

QUESTIONS = tomllib.loads(Path(__file__).with_name("self_test.toml").read_text("utf-8"))["question"]


def test_every_question_of_the_self_test_is_in_a_quiz() -> None:
    """With a right answer that names what the guide answers."""
    assert len({question["guide"] for question in QUESTIONS}) == 13
    for entry in QUESTIONS:
        quiz = {question.text.zh: question for question in find_lesson(entry["lesson"]).quiz}
        assert entry["quiz"] in quiz, f"{entry['lesson']} does not ask {entry['guide']}"
        right = [choice.text.zh for choice in quiz[entry["quiz"]].choices if choice.right]
        assert len(right) == 1
        assert entry["answer"] in right[0], right[0]
