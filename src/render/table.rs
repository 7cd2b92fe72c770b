//! Tables that line up.

use comfy_table::{CellAlignment, Table, presets};

/// How a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Sets rows of text under headings, two blanks between columns and none behind the last. On a terminal, whose
/// width is given, lines are cut there: a row that wraps makes a table unreadable.
pub fn render(
    columns: &[(&str, Align)],
    rows: impl IntoIterator<Item = Vec<String>>,
    width: Option<usize>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(columns.iter().map(|(heading, _)| *heading));
    table.add_rows(rows);
    for (column, (_, align)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if *align == Align::Right {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        let line = line.trim_end();
        text.push_str(&width.map_or_else(|| line.into(), |width| cut(line, width)));
        text.push('\n');
    }
    text
}

/// The beginning of a line that fits a terminal, with an ellipsis where something is missing.
fn cut(line: &str, width: usize) -> std::borrow::Cow<'_, str> {
    console::truncate_str(line, width, "…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_with_their_text() {
        let rows = [
            vec!["7".to_owned(), "sh".to_owned()],
            vec!["1234".to_owned(), "python3".to_owned()],
        ];
        let text = render(&[("PID", Align::Right), ("NAME", Align::Left)], rows, None);
        assert_eq!(text, " PID  NAME\n   7  sh\n1234  python3\n");
    }

    #[test]
    fn a_line_is_cut_at_the_width_of_the_terminal() {
        let rows = [vec!["größe der dinge".to_owned()]];
        assert_eq!(
            render(&[("A", Align::Left)], rows, Some(8)),
            "A\ngröße d…\n"
        );
    }
}
