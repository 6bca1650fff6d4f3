//! The LaunchAgent of macOS: a property list that runs `lighter start` once at login. Read by `sys::login` there;
//! launchd.plist(5).

use super::{AutostartError, Entry};

/// The agent's label; its file has this name and `.plist`.
pub fn label(entry: &Entry) -> String {
    format!("org.lighter.{}", entry.profile.name())
}

/// The text of the property list.
pub fn plist(entry: &Entry) -> Result<String, AutostartError> {
    let program = Entry::text(&entry.program, "a property list")?;
    let words: String = std::iter::once(program.as_str())
        .chain(entry.arguments())
        .map(|word| format!("    <string>{}</string>\n", escaped(word)))
        .collect();
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <!-- Written by `lighter autostart on`, removed by `lighter autostart off`. -->\n\
         <plist version=\"1.0\">\n\
         <dict>\n\
         \x20 <key>Label</key>\n\
         \x20 <string>{}</string>\n\
         \x20 <key>ProgramArguments</key>\n\
         \x20 <array>\n{words}\x20 </array>\n\
         \x20 <key>EnvironmentVariables</key>\n\
         \x20 <dict>\n\
         {}\n\
         \x20 </dict>\n\
         \x20 <key>RunAtLoad</key>\n\
         \x20 <true/>\n\
         \x20 <!-- The daemon goes on when `lighter start` has ended. -->\n\
         \x20 <key>AbandonProcessGroup</key>\n\
         \x20 <true/>\n\
         </dict>\n\
         </plist>\n",
        escaped(&label(entry)),
        mark(entry)?
    ))
}

/// The lines by which an agent is known to be of this home.
pub fn mark(entry: &Entry) -> Result<String, AutostartError> {
    let home = escaped(&Entry::text(&entry.home, "a property list")?);
    Ok(format!("    <key>LIGHTER_HOME</key>\n    <string>{home}</string>"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autostart::example;

    #[test]
    fn the_agent_runs_the_endpoint_at_login_and_is_well_formed_whatever_the_paths_are() {
        let text = plist(&example("/Users/o'neil & sons <1>", "default", false)).unwrap();
        assert!(text.contains("<string>/opt/my \"programs\"/100%/$lighter\\&lt;&amp;&gt;</string>"), "{text}");
        assert!(text.contains("<string>/Users/o'neil &amp; sons &lt;1&gt;</string>"), "{text}");
        assert!(text.contains("    <string>--asleep</string>\n    <string>--activate=false</string>\n"), "{text}");
        // Every element that is opened is closed, in order.
        let mut open = Vec::new();
        for tag in text.split('<').skip(1).filter(|tag| !tag.starts_with(['?', '!'])) {
            let name = tag.split(['>', ' ']).next().unwrap();
            match name.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop(), Some(closed), "{text}"),
                None if name.ends_with('/') => (),
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
        assert!(!plist(&example("/Users/me", "default", true)).unwrap().contains("--asleep"));
    }
}
