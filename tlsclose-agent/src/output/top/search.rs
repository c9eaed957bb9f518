//! Which sites the text of the filter leaves.

use tlsclose_core::model::Touch;

use crate::api::Site;

/// Whether anything that names the site contains the text, which is in lower case.
pub fn contains(site: &Site, text: &str) -> bool {
    let fits = |name: &str| name.to_lowercase().contains(text);
    let in_path = |touch: &Option<Touch>| {
        let frames = touch.iter().flat_map(|touch| &touch.stack);
        frames.filter_map(|frame| frame.function.as_deref()).any(fits)
    };
    text.is_empty()
        || fits(&site.site)
        || fits(site.kind.name())
        || site.processes.iter().any(|process| {
            let place = process.container.iter();
            fits(&process.comm)
                || fits(&process.exe)
                || process.pid.to_string() == text
                || place.flat_map(|it| [&it.namespace, &it.pod, &it.name, &it.id]).any(|name| fits(name))
        })
        || in_path(&site.opened)
        || in_path(&site.touched)
}
