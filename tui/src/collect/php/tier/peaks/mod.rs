//! The peaks tier: the most memory that PHP's allocator had in each request, read when the request gives it back.

pub(super) mod sites;
