//! A window over an area that only writes down what is shown where, against the plainest model that there is: page by page.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use vm_memory::VolatileSlice;

use super::*;
use crate::bus::BusDevice;

/// What one page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    Nothing,
    Zero,
    Written,
    File { node: u64, offset: u64, writable: bool },
    Copy,
}

/// Pages that cannot be read, and those that cannot be written.
#[derive(Default)]
struct Bad(Vec<u64>, Vec<u64>);

struct Notes(Arc<Mutex<Vec<Page>>>, Bad);

impl Notes {
    fn each(&self, piece: Piece, page: impl Fn(u64) -> Page) -> io::Result<()> {
        let mut pages = self.0.lock().expect("no test panics inside");
        for at in (0..piece.bytes()).step_by(PAGE as usize) {
            pages[((piece.at() + at) / PAGE) as usize] = page(at);
        }
        Ok(())
    }
}

impl Area for Notes {
    fn bytes(&self) -> u64 {
        self.0.lock().expect("no test panics inside").len() as u64 * PAGE
    }
    fn address(&self) -> u64 {
        0
    }
    fn map(&self, piece: Piece, source: &Source) -> io::Result<()> {
        let (node, writable) = (source.node, source.writable);
        self.each(piece, |at| Page::File { node, offset: source.offset + at, writable })
    }
    fn map_copy(&self, piece: Piece, _: &Source) -> io::Result<()> {
        self.each(piece, |_| Page::Copy)
    }
    fn zero(&self, piece: Piece, zeroes: Zeroes) -> io::Result<()> {
        self.each(piece, |_| match zeroes {
            Zeroes::Untouched => Page::Zero,
            Zeroes::Written => Page::Written,
        })
    }
    fn hide(&self, piece: Piece) -> io::Result<()> {
        self.each(piece, |_| Page::Nothing)
    }
    fn is_reachable(&self, piece: Piece, write: bool) -> bool {
        let bad = if write { &self.1.1 } else { &self.1.0 };
        let end = piece.at() + piece.bytes();
        !bad.iter().any(|page| (piece.at()..end).contains(&(page * PAGE)))
    }
    fn slice(&self, _: u64, _: usize) -> Option<VolatileSlice<'_>> {
        None
    }
    fn read(&self, _: u64, _: &mut [u8]) -> bool {
        false
    }
    fn write(&self, _: u64, _: &[u8]) -> bool {
        false
    }
}

/// Where the guest finds it.
pub(crate) const BASE: u64 = 5 << 30;
const PAGES: u64 = 24;

/// A window of as many pages, of which one cannot be read.
#[allow(dead_code)] // For backends that can map files, which not every system has.
pub(crate) fn with_unreadable(page: u64) -> (Arc<Window>, Arc<Mutex<Vec<Page>>>) {
    window(Bad(vec![page], vec![page]))
}

/// A file of so many pages without anything in it, shown from the window's begin on.
#[allow(dead_code)] // For backends that can map files, which not every system has.
pub(crate) fn showing(window: &Window, pages: u64) -> Arc<File> {
    let file = file(pages);
    window.map(window.piece(0, pages * PAGE).expect("a piece"), source(&file, 1, 0)).expect("mapped");
    file
}

/// A window of 4 MiB at [`BASE`], and what is shown in it.
pub(crate) fn noted() -> (Arc<Window>, Arc<Mutex<Vec<Page>>>) {
    let pages = Arc::new(Mutex::new(vec![Page::Nothing; (4 << 20) / PAGE as usize]));
    (Window::new(BASE, Box::new(Notes(Arc::clone(&pages), Bad::default()))), pages)
}

fn window(bad: Bad) -> (Arc<Window>, Arc<Mutex<Vec<Page>>>) {
    let pages = Arc::new(Mutex::new(vec![Page::Nothing; PAGES as usize]));
    (Window::new(BASE, Box::new(Notes(Arc::clone(&pages), bad))), pages)
}

fn file(pages: u64) -> Arc<File> {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(pages * PAGE).expect("a sparse file");
    Arc::new(file)
}

fn source(file: &Arc<File>, node: u64, offset: u64) -> Source {
    Source { file: Arc::clone(file), node, inode: node, writable: true, offset }
}

#[test]
fn d1_a_file_that_is_cut_and_grows_again_is_shown_as_far_as_it_goes() {
    let (window, pages) = window(Bad::default());
    let cut = file(8);
    window.map(window.piece(2 * PAGE, 4 * PAGE).expect("a piece"), source(&cut, 7, 4 * PAGE)).expect("mapped");
    assert!(!window.mend(), "the file is long enough");
    cut.set_len(6 * PAGE - 5).expect("cut");
    assert!(window.mend());
    let shown = |at: usize| pages.lock().expect("unpoisoned")[at];
    assert!(
        matches!(shown(3), Page::File { node: 7, offset, .. } if offset == 5 * PAGE),
        "its last page is a part of one"
    );
    assert_eq!([shown(1), shown(4), shown(5), shown(6)], [Page::Nothing, Page::Zero, Page::Zero, Page::Nothing]);
    assert!(window.mend(), "and still short: a write is let through");
    assert_eq!([shown(3) == Page::Written, shown(4) == Page::Written, shown(5) == Page::Written], [false, true, true]);
    assert!(!window.mend(), "once is enough");
    cut.set_len(100 * PAGE).expect("grown");
    window.refresh(|source| source.inode == 7);
    assert!((2..6).all(|at| matches!(shown(at), Page::File { .. })));
    window.clear();
    assert!(pages.lock().expect("unpoisoned").iter().all(|page| *page == Page::Nothing));
    assert_eq!(window.mappings(), 0);
}

#[test]
fn d1_what_cannot_be_read_or_written_is_given_up_page_by_page() {
    let (window, pages) = window(Bad(vec![3], vec![3, 9]));
    let whole = file(100);
    window.map(window.piece(0, 6 * PAGE).expect("a piece"), source(&whole, 1, 0)).expect("mapped");
    window.map(window.piece(8 * PAGE, 5 * PAGE).expect("a piece"), source(&whole, 1, 0)).expect("mapped");
    assert!(window.give_up());
    let shown = pages.lock().expect("unpoisoned").clone();
    assert_eq!((shown[3], shown[9]), (Page::Zero, Page::Copy));
    let lost = shown.iter().filter(|page| matches!(page, Page::Zero | Page::Copy)).count();
    assert_eq!(lost, 2, "{shown:?}");
    assert!(!window.give_up() && !window.mend(), "what is lost stays lost");
    window.map(window.piece(9 * PAGE, PAGE).expect("a piece"), source(&whole, 1, PAGE)).expect("mapped anew");
    assert!(matches!(pages.lock().expect("unpoisoned")[9], Page::File { .. }));
}

#[test]
fn d2_what_no_window_or_file_has_is_refused_and_changes_nothing() {
    let (window, pages) = window(Bad::default());
    let end = PAGES * PAGE;
    let odd = [(0, 0), (1, PAGE), (0, PAGE + 1), (end, PAGE), (end - PAGE, 2 * PAGE), (u64::MAX, 1), (PAGE, u64::MAX)];
    assert!(odd.iter().all(|&(at, len)| window.piece(at, len).is_none()));
    let (piece, file) = (window.piece(0, 2 * PAGE).expect("a piece"), file(1));
    for offset in [1, PAGE - 1, i64::MAX as u64 / PAGE * PAGE, u64::MAX / PAGE * PAGE, u64::MAX] {
        let error = window.map(piece, source(&file, 1, offset)).expect_err("no such part of a file");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{offset:#x}");
    }
    assert!(pages.lock().expect("unpoisoned").iter().all(|page| *page == Page::Nothing));
    let region = window.region();
    assert!(region.holds(BASE, end) && region.holds(BASE + end - 1, 1));
    assert!(!region.holds(BASE - 1, 1) && !region.holds(BASE + 1, end) && !region.holds(u64::MAX, 2));
}

#[test]
fn d3_mappings_are_bounded_and_can_always_be_removed() {
    let pages = Arc::new(Mutex::new(vec![Page::Nothing; 4 * MOST]));
    let window = Window::new(BASE, Box::new(Notes(Arc::clone(&pages), Bad::default())));
    let file = file(1);
    let made = (0..).map_while(|at| window.map(window.piece(2 * at * PAGE, PAGE)?, source(&file, 1, 0)).ok()).count();
    assert!((MOST / 2 - 2..MOST / 2).contains(&made), "{made}");
    assert_eq!(window.mappings(), made);
    for at in 0..made as u64 {
        window.unmap(window.piece(2 * at * PAGE, PAGE).expect("a piece")).expect("removed");
    }
    assert_eq!(window.mappings(), 0);
}

#[test]
fn d1_an_access_that_was_interpreted_reads_zeroes_where_there_is_nothing() {
    let (window, _) = window(Bad::default());
    let device = Interpreted(window);
    let mut data = [0xa5; 8];
    device.read(PAGE, &mut data);
    assert_eq!(data, [0; 8]);
    device.write(PAGE, &data);
}

#[derive(Debug, Clone)]
enum Step {
    Map { at: u64, len: u64, offset: u64, node: usize, writable: bool },
    Unmap { at: u64, len: u64 },
    Resize { node: usize, bytes: u64 },
    Mend,
}

fn step() -> impl Strategy<Value = Step> {
    let place = (0..PAGES + 2, 0..PAGES + 2);
    prop_oneof![
        (place.clone(), 0..30u64, 0..3usize, any::<bool>()).prop_map(|((at, len), offset, node, writable)| Step::Map {
            at,
            len,
            offset,
            node,
            writable
        }),
        place.prop_map(|(at, len)| Step::Unmap { at, len }),
        (0..3usize, 0..40 * PAGE).prop_map(|(node, bytes)| Step::Resize { node, bytes }),
        Just(Step::Mend),
    ]
}

proptest! {
    #[test]
    fn d1_a_window_shows_what_a_page_by_page_model_says(steps in prop::collection::vec(step(), 1..40)) {
        let (window, pages) = window(Bad::default());
        let files = [file(10), file(20), file(0)];
        let mut model = vec![None; PAGES as usize];
        for step in steps {
            match step {
                Step::Map { at, len, offset, node, writable } => {
                    let piece = window.piece(at * PAGE, len * PAGE);
                    prop_assert_eq!(piece.is_some(), len > 0 && at + len <= PAGES);
                    let Some(piece) = piece else { continue };
                    let source = Source { file: Arc::clone(&files[node]), node: node as u64, inode: node as u64, writable, offset: offset * PAGE };
                    prop_assert!(window.map(piece, source).is_ok());
                    for page in 0..len {
                        let offset = (offset + page) * PAGE;
                        model[(at + page) as usize] = Some(Page::File { node: node as u64, offset, writable });
                    }
                }
                Step::Unmap { at, len } => {
                    let Some(piece) = window.piece(at * PAGE, len * PAGE) else { continue };
                    prop_assert!(window.unmap(piece).is_ok());
                    model[at as usize..(at + len) as usize].fill(None);
                }
                Step::Resize { node, bytes } => files[node].set_len(bytes).expect("a length"),
                Step::Mend => drop(window.mend()),
            }
            let shown = pages.lock().expect("unpoisoned").clone();
            for (page, model) in shown.iter().zip(&model) {
                let fits = match model {
                    None => *page == Page::Nothing,
                    Some(file) => page == file || matches!(page, Page::Zero | Page::Written),
                };
                prop_assert!(fits, "{page:?} where there should be {model:?}");
            }
        }
        window.mend();
        for (page, model) in pages.lock().expect("unpoisoned").iter().zip(&model) {
            let wanted = match *model {
                None => Page::Nothing,
                Some(Page::File { node, offset, .. })
                    if offset >= files[node as usize].metadata().expect("a file").len() => Page::Zero,
                Some(file) => file,
            };
            prop_assert_eq!(if *page == Page::Written { Page::Zero } else { *page }, wanted);
        }
    }
}
