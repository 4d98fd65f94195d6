//! One-way latencies between regions, read from the tables in `config/latency/`.

use std::sync::LazyLock;

use peerstage_core::time::Millis;

/// Regions, how many nodes they have, and the time between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyMatrix {
    regions: Vec<String>,
    /// Share of the nodes, one a region.
    weights: Vec<u32>,
    /// Rows by origin, columns by destination, in ms.
    one_way_ms: Vec<Vec<Millis>>,
}

/// What is wrong with a table of latencies; lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LatencyError {
    /// There is not even a line of region names.
    #[error("the table is empty")]
    Empty,
    /// A line does not name the region that the header has in its place.
    #[error("line {line}: expected the region {expected}")]
    Region {
        /// Where.
        line: usize,
        /// What the header says.
        expected: String,
    },
    /// A line has too few or too many numbers, or one is not a whole number of ms.
    #[error("line {line}: expected {expected} whole numbers of milliseconds")]
    Numbers {
        /// Where.
        line: usize,
        /// How many regions there are.
        expected: usize,
    },
    /// The table has fewer or more lines than regions.
    #[error("expected {expected} lines after the header, found {found}")]
    Lines {
        /// How many regions there are.
        expected: usize,
        /// How many lines there are.
        found: usize,
    },
}

const AWS13: &str = include_str!("../../../config/latency/aws13-oneway-ms.csv");
const EIGHT_REGIONS: &str = include_str!("../../../config/latency/eight-regions-ms.csv");
const EIGHT_REGIONS_NODES: &str = include_str!("../../../config/latency/eight-regions-nodes.csv");

impl LatencyMatrix {
    /// The 13 AWS regions of CometBFT's end-to-end tests, with as many nodes each.
    #[must_use]
    pub fn aws13() -> Self {
        static MATRIX: LazyLock<LatencyMatrix> = LazyLock::new(|| built_in(AWS13, ""));
        MATRIX.clone()
    }

    /// Eight regions of the world with the node counts of libp2p's gossipsub experiments.
    #[must_use]
    pub fn eight_regions() -> Self {
        static MATRIX: LazyLock<LatencyMatrix> =
            LazyLock::new(|| built_in(EIGHT_REGIONS, EIGHT_REGIONS_NODES));
        MATRIX.clone()
    }

    /// Reads a square table: a header `From/to,A,B`, then a line `A,ms,ms` for each region.
    ///
    /// # Errors
    /// See [`LatencyError`].
    pub fn parse(table: &str) -> Result<Self, LatencyError> {
        let mut lines = table.lines().filter(|line| !line.trim().is_empty());
        let header = lines.next().ok_or(LatencyError::Empty)?;
        let regions: Vec<String> = header.split(',').skip(1).map(|r| r.trim().into()).collect();
        if regions.is_empty() {
            return Err(LatencyError::Empty);
        }
        let rows: Vec<&str> = lines.collect();
        if rows.len() != regions.len() {
            return Err(LatencyError::Lines { expected: regions.len(), found: rows.len() });
        }
        let mut one_way_ms = Vec::with_capacity(regions.len());
        for (index, (row, region)) in rows.iter().zip(&regions).enumerate() {
            one_way_ms.push(parse_row(row, region, regions.len(), index + 2)?);
        }
        Ok(LatencyMatrix { weights: vec![1; regions.len()], regions, one_way_ms })
    }

    /// The names of the regions.
    #[must_use]
    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    /// The share of nodes of each region.
    #[must_use]
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// The time from one region to another in ms; regions beyond the table start over.
    #[must_use]
    pub fn one_way_ms(&self, from: usize, to: usize) -> Millis {
        let regions = self.regions.len().max(1);
        let row = self.one_way_ms.get(from % regions);
        row.and_then(|row| row.get(to % regions)).copied().unwrap_or_default()
    }

    /// Sets the weights from lines `region,nodes`; regions that are not named keep theirs.
    fn weigh(&mut self, table: &str) {
        for (name, nodes) in table.lines().skip(1).filter_map(|line| line.split_once(',')) {
            if let Some(index) = self.regions.iter().position(|region| region == name)
                && let (Some(weight), Ok(nodes)) =
                    (self.weights.get_mut(index), nodes.trim().parse())
            {
                *weight = nodes;
            }
        }
    }
}

fn parse_row(
    row: &str,
    region: &str,
    expected: usize,
    line: usize,
) -> Result<Vec<Millis>, LatencyError> {
    let mut cells = row.split(',').map(str::trim);
    if cells.next() != Some(region) {
        return Err(LatencyError::Region { line, expected: region.into() });
    }
    let numbers: Result<Vec<Millis>, _> = cells.map(str::parse).collect();
    numbers
        .ok()
        .filter(|numbers| numbers.len() == expected)
        .ok_or(LatencyError::Numbers { line, expected })
}

#[allow(clippy::expect_used, reason = "the tables are part of the program; a test reads them")]
fn built_in(table: &str, nodes: &str) -> LatencyMatrix {
    let mut matrix = LatencyMatrix::parse(table).expect("a table in config/latency is damaged");
    matrix.weigh(nodes);
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_tables_are_whole() {
        let aws = LatencyMatrix::aws13();
        assert_eq!(aws.regions().len(), 13);
        assert_eq!(aws.one_way_ms(0, 8), 73, "North Virginia to Tokyo");
        let world = LatencyMatrix::eight_regions();
        assert_eq!(world.weights(), [290, 5599, 1059, 161, 2894, 1240, 47, 36]);
        assert_eq!(world.one_way_ms(0, 6), 220, "Australia to South Africa");
        for matrix in [aws, world] {
            for from in 0..matrix.regions().len() {
                for to in 0..from {
                    let forth = matrix.one_way_ms(from, to);
                    // The sources measured there and back, which differ by a few ms.
                    assert!(forth.abs_diff(matrix.one_way_ms(to, from)) <= 5);
                }
            }
        }
    }

    #[test]
    fn a_damaged_table_names_its_line() {
        let error = |table| LatencyMatrix::parse(table).unwrap_err();
        assert_eq!(error(""), LatencyError::Empty);
        assert_eq!(error("From/to,A,B\nA,0,1"), LatencyError::Lines { expected: 2, found: 1 });
        assert_eq!(
            error("From/to,A,B\nA,0,1\nC,1,0"),
            LatencyError::Region { line: 3, expected: "B".into() }
        );
        assert_eq!(
            error("From/to,A,B\nA,0,x\nB,1,0"),
            LatencyError::Numbers { line: 2, expected: 2 }
        );
    }
}
