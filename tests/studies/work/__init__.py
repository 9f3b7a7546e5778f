import pytest

pytest.register_assert_rewrite("tests.studies.work.commands")
