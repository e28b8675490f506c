//! Requests over a real socket to doors that are played.
