//! Tests in the running kernel. They need root and leave nothing behind; without root they say that
//! they are skipped.

mod attach;
mod load;
mod objects;
mod places;
