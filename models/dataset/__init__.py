"""Statistics of a data set of payments, and the page that shows them: what a model builder looks at first."""
