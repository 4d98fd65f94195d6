//! Tables and colours for a terminal.

use std::io::IsTerminal;

use comfy_table::{CellAlignment, presets::NOTHING};

/// Whether colours are used: on a terminal, unless `NO_COLOR` is set (no-color.org).
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    colours: bool,
}

/// What a line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing special.
    Plain,
    /// A heading.
    Bold,
    /// As it should be.
    Good,
    /// Look here.
    Bad,
}

impl Style {
    pub(super) fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Style { colours: wanted && std::io::stdout().is_terminal() }
    }

    #[cfg(test)]
    pub(super) fn with_colours(colours: bool) -> Self {
        Style { colours }
    }

    /// The text in the colour of its tone.
    pub(super) fn paint(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Bold => "1",
            Tone::Good => "32",
            Tone::Bad => "31",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Aligned columns without lines around them.
pub(super) struct Table {
    table: comfy_table::Table,
    tones: Vec<Tone>,
}

impl Table {
    /// A table with these headings; one that ends in `>` aligns its column to the right.
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        table.set_header(headings.iter().map(|heading| heading.trim_end_matches('>')));
        for (index, heading) in headings.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if heading.ends_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Table { table, tones: vec![Tone::Bold] }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.toned_row(Tone::Plain, cells);
    }

    /// Adds a row in a colour.
    pub(super) fn toned_row(&mut self, tone: Tone, cells: impl IntoIterator<Item = String>) {
        // Text of peers must stay in its cell and leave the terminal alone.
        let cells = cells.into_iter().map(|cell| tame(&cell));
        self.table.add_row(cells.collect::<Vec<_>>());
        self.tones.push(tone);
    }

    /// The lines; colours are laid over whole lines, so that they don't move columns.
    pub(super) fn text(&self, style: Style) -> String {
        let lines = self.table.lines().zip(&self.tones);
        let painted: Vec<String> =
            lines.map(|(line, tone)| style.paint(line.trim_end(), *tone)).collect();
        painted.join("\n") + "\n"
    }
}

/// Text of others without control characters.
pub(super) fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Bytes for people: `0 B`, `1.5 KiB`, `23 MiB`.
pub(super) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    for (index, unit) in units.iter().enumerate() {
        if value < 1024.0 || index + 1 == units.len() {
            let precision = usize::from(index > 0 && value < 10.0);
            return format!("{value:.precision$} {unit}");
        }
        value /= 1024.0;
    }
    String::new()
}

/// A span for people: its two largest units, `3d 4h`, `5m 2s`, `17s`.
pub(super) fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown = parts.iter().skip(first).take(2).filter(|(count, unit)| *count > 0 || *unit == "s");
    let words: Vec<String> = shown.map(|(count, unit)| format!("{count}{unit}")).collect();
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(23 * 1024 * 1024), "23 MiB");
        assert_eq!(age(0), "0s");
        assert_eq!(age(17_900), "17s");
        assert_eq!(age(302_000), "5m 2s");
        assert_eq!(age(3 * 86_400_000 + 4 * 3_600_000 + 59_000), "3d 4h");
        assert_eq!(age(3_600_000), "1h");
    }

    #[test]
    fn columns_align_and_text_of_peers_is_tamed() {
        let mut table = Table::new(&["peer", "score>"]);
        table.row(["aa".to_owned(), "1.5".to_owned()]);
        table.toned_row(Tone::Bad, ["evil\n\x1b[2J".to_owned(), "-50.0".to_owned()]);
        let plain = table.text(Style::with_colours(false));
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines.iter().all(|line| line.chars().count() == lines[0].chars().count()),
            "{plain}"
        );
        assert!(!plain.contains('\x1b'));
        let coloured = table.text(Style::with_colours(true));
        assert!(coloured.lines().nth(2).unwrap().starts_with("\x1b[31mevil"));
    }
}
