//! What `bessemer config` prints.

use std::fmt::Write as _;

use oslo::config::Config;

/// Every option with its effective value and where that came from, by group; secrets and credentials are masked.
pub fn render(config: &Config) -> String {
    let mut entries: Vec<_> = config.entries().collect();
    let mut groups: Vec<&str> = Vec::new();
    for entry in &entries {
        if !groups.contains(&entry.group()) {
            groups.push(entry.group());
        }
    }
    entries.sort_by_key(|entry| (groups.iter().position(|group| *group == entry.group()), entry.name()));
    let mut text = String::new();
    let mut last = None;
    for entry in entries {
        if last != Some(entry.group()) {
            let gap = if last.is_some() { "\n" } else { "" };
            let _ = writeln!(text, "{gap}[{}]", entry.group());
            last = Some(entry.group());
        }
        let mut values = entry.shown();
        if values.is_empty() {
            values.push(String::new());
        }
        for value in values {
            let space = if value.is_empty() { "" } else { " " };
            let _ = writeln!(text, "{} ={space}{value}  # from {}", entry.name(), entry.source());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;

    #[test]
    fn every_option_is_printed_with_its_source_and_secrets_are_masked() {
        let config = config(
            "[DEFAULT]\ntransport_url = rabbit://nova:hunter2@mq1:5672,nova:hunter2@mq2:5672/\n\
             my_block_storage_ip = x\n[ironic]\npassword = hunter2\nauth_url = http://u:hunter2@k/v3\nauth_section = Shared\n\
             [neutron]\npassword = $ironic.password\nauth_url = $nosuch\n[shared]\ntoken = hunter2\n\
             [placement]\nregion_name = ${ironic.password}\n\
             [oslo_messaging_notifications]\ntransport_url = rabbit://a:hunter2@h/\ndriver = messagingv2\ndriver = log\n",
        );
        let text = render(&config);
        assert!(!text.contains("hunter2"), "{text}");
        let line =
            |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
        assert!(text.starts_with("[DEFAULT]\n"));
        let url = line("transport_url");
        assert!(
            url.starts_with("transport_url = rabbit://nova:***@mq1:5672,nova:***@mq2:5672/  # from /"),
            "{url}"
        );
        assert!(url.ends_with("nova.conf:2"), "{url}");
        assert_eq!(line("report_interval"), "report_interval = 10  # from default");
        assert_eq!(line("log_dir"), "log_dir =  # from default");
        assert!(line("password =").starts_with("password = ***  # from "));
        assert!(text.contains("\ntoken = ***  # from "), "{text}");
        assert!(text.contains("region_name = ***"));
        assert!(text.contains("\n[shared]\n"));
        assert!(text.contains("driver = messagingv2") && text.contains("driver = log  #"));
    }
}
