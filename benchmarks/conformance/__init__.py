"""Does PairLift agree with what others publish, and does it explain the models that people install?

* `published`: the DeepLIFT expectations in the test suites of captum, shap and tangermeme, row by row.
* `packages`: models of the packages that people forecast and classify sequences with.
"""
