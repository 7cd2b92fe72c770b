import os
import unittest


class Test(unittest.TestCase):
    def test_that_the_page_has_a_title(self):
        folder = os.environ.get("TEMPLATES", "templates")
        with open(os.path.join(folder, "productpage.html"), encoding="utf-8") as template:
            self.assertIn("<title>", template.read())
