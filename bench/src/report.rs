//! Writes `docs/performance.md` part by part, with its plots.

use std::fs;
use std::path::PathBuf;

use plotters::prelude::*;

/// A part of the document: its text and its plots by their file names.
#[derive(Default)]
pub struct Part {
    pub text: String,
    pub plots: Vec<(String, String)>,
}

impl Part {
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        self.text += &line(&head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
        self.text += &line(&head.iter().map(|_| "---".to_owned()).collect::<Vec<_>>());
        for row in rows {
            self.text += &line(row);
        }
        self.text.push('\n');
    }

    /// Adds a plot. Both its scales are logarithmic, since the growth of the figures is what matters.
    pub fn plot(&mut self, file: &str, title: &str, x: &str, y: &str, lines: &[(String, Vec<(f64, f64)>)]) {
        self.text += &format!("![{title}]({file})\n\n");
        self.plots.push((file.to_owned(), draw(title, x, y, lines)));
    }
}

/// Cargo's target folder, wherever it is: this program is in its `release` folder.
pub fn target_folder() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

fn docs() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))
}

/// Prints the part and, unless `only_show`, replaces the text between its markers in the document.
pub fn write(name: &str, part: Part, only_show: bool) {
    println!("{}", part.text);
    if only_show {
        return;
    }
    let path = docs().join("performance.md");
    let document = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {name}: written by"), format!("<!-- end of {name} -->"));
    let start = document.find(&begin).and_then(|at| document[at..].find('\n').map(|line| at + line + 1));
    let (Some(start), Some(stop)) = (start, document.find(&end)) else { panic!("no markers for {name}") };
    let text = format!("{}\n{}{}", &document[..start], part.text, &document[stop..]);
    fs::write(&path, text).unwrap();
    for (file, svg) in part.plots {
        fs::write(docs().join(file), svg).unwrap();
    }
}

/// Describes the machine, for figures that depend on it.
pub fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1).map(str::to_owned));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!(
        "{}, {cores} cores, load average {load} before the run. Other machines, other figures: read them as ratios.",
        model.unwrap_or_else(|| "an unknown processor".to_owned())
    )
}

fn draw(title: &str, x: &str, y: &str, lines: &[(String, Vec<(f64, f64)>)]) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let span = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) = points().map(of).fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        (low.max(1e-3) * 0.9)..(high.max(1e-3) * 1.3)
    };
    let (across, up) = (span(|point| point.0), span(|point| point.1));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (760, 420)).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(across.log_scale(), up.log_scale())
            .unwrap();
        chart.configure_mesh().light_line_style(WHITE).x_desc(x).y_desc(y).draw().unwrap();
        for (i, (label, points)) in lines.iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            let points: Vec<_> = points.iter().map(|(x, y)| (*x, y.max(1e-3))).collect();
            chart
                .draw_series(LineSeries::new(points.clone(), color.stroke_width(2)))
                .unwrap()
                .label(label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled()))).unwrap();
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .draw()
            .unwrap();
        area.present().unwrap();
    }
    svg
}
