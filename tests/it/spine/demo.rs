//! Line 1: the first command shows a site, and one edited file another one.
