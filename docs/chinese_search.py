"""Search in Chinese pages without a dictionary: every two neighbouring characters are a term.

Sphinx's own splitter asks for a segmenter of words, and finds only the words that this knows. Pairs
of characters find any text: a query is split in the same way, and a page must hold all its pairs.
"""

import re

from sphinx.search.zh import SearchChinese

RUN = re.compile("[一-鿿]+")
SPLIT_QUERY = """
var splitQuery = (query) => {
  const terms = query.match(/[a-zA-Z0-9_]+/g) || [];
  for (const run of query.match(/[一-鿿]+/g) || []) {
    if (run.length === 1) terms.push(run);
    for (let i = 0; i + 1 < run.length; i++) terms.push(run.slice(i, i + 2));
  }
  return terms;
};
"""


class ChineseSearch(SearchChinese):
    """Latin words as in Sphinx, Chinese text as pairs of characters."""

    language_name = "English"  # of the stemmer, for Latin words: there is no "ChineseStemmer"
    js_splitter_code = SPLIT_QUERY

    def split(self, input: str) -> list[str]:
        """The terms of a text."""
        latin = self.latin1_letters.findall(input)
        self.latin_terms.update(latin)
        runs = RUN.findall(input)
        return latin + [run[i : i + 2] for run in runs for i in range(max(len(run) - 1, 1))]
