//! The table is whole.

use super::*;

#[test]
fn every_row_is_found_by_kind_byte_and_name() {
    for (index, row) in KINDS.iter().enumerate() {
        assert_eq!(row.kind.row().name, row.name);
        assert_eq!(row.kind.index(), index);
        assert_eq!(Kind::from_byte(row.kind.byte()), Some(row.kind));
        assert_eq!(Kind::from_name(row.name), Some(row.kind));
        assert!(row.body_max <= BODY_MAX);
        assert!(row.queue_bytes >= row.body_max, "{} could never be queued", row.name);
        assert!(row.burst >= row.rate_per_second);
    }
    assert_eq!(Kind::from_byte(0), None);
    assert_eq!(Kind::from_byte(255), None);
}

#[test]
fn the_table_has_a_line_a_kind() {
    assert_eq!(table_as_markdown().lines().count(), KINDS.len() + 2);
}
