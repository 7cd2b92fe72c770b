//! The half that runs beside the target.
