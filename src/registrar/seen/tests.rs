//! From the API's form to what is remembered.
