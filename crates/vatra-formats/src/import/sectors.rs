//! Sectors as other vocabularies name them.

use vatra_model::schema::words::Sector;

/// The sector that a MISP tag names, if it is a sector tag: taxonomies `nis2`, `eu-nis-sector-and-subsectors`
/// and `dhs-ciip-sectors`, galaxy `sector`, and our own `sector:<name>`.
pub(crate) fn of_tag(tag: &str) -> Option<Sector> {
    let lower = tag.trim().to_ascii_lowercase();
    if let Some(name) = lower.strip_prefix("sector:") {
        return Sector::find(name.trim_matches('"'));
    }
    let (machine, value) = lower.split_once('=')?;
    let value = value.trim_matches('"');
    match machine {
        "vatra:sector" => Sector::find(value),
        "nis2:impact-sectors-impacted" | "nis2:important-entities" => nis2(value),
        "eu-nis-sector-and-subsectors:eu-nis-oes" => nis2(value),
        "dhs-ciip-sectors:dhs-critical-sectors" => dhs(value),
        "misp-galaxy:sector" => galaxy(value),
        _ => None,
    }
}

fn nis2(value: &str) -> Option<Sector> {
    Some(match value {
        "energy" => Sector::Energy,
        "transport" => Sector::Transport,
        "banking" => Sector::Banking,
        "financial" => Sector::FinancialMarkets,
        "health" => Sector::Health,
        "drinking-water" | "waste-water" | "water" => Sector::Water,
        "digital-infrastructure" | "digitalinfrastructure" | "digital-providers" | "digital" => {
            Sector::DigitalInfrastructure
        }
        "ict-services" => Sector::IctServices,
        "public-administration" => Sector::Government,
        "space" => Sector::Space,
        "courier" | "postal" => Sector::Postal,
        "chemical" | "chemicals" => Sector::Chemical,
        "food" => Sector::Food,
        "manufacturing" => Sector::Manufacturing,
        "research" => Sector::Research,
        _ => return None,
    })
}

fn dhs(value: &str) -> Option<Sector> {
    Some(match value {
        "chemical" => Sector::Chemical,
        "communications" => Sector::Communications,
        "critical-manufacturing" => Sector::Manufacturing,
        "dams" | "water" => Sector::Water,
        "dib" => Sector::DefenceCivil,
        "emergency-services" => Sector::CivilDefence,
        "energy" => Sector::Energy,
        "financial-services" => Sector::Banking,
        "food-agriculture" => Sector::Food,
        "government-facilities" => Sector::Government,
        "healthcare-public" => Sector::Health,
        "it" => Sector::IctServices,
        "nuclear" => Sector::Nuclear,
        "transport" => Sector::Transport,
        _ => return None,
    })
}

fn galaxy(value: &str) -> Option<Sector> {
    Some(match value {
        "energy" | "oil" | "gas" | "electricity" => Sector::Energy,
        "transport" | "aviation" | "maritime" | "railway" | "logistics" => Sector::Transport,
        "telecoms" | "telecommunication" | "telecommunications" => Sector::Communications,
        "it" | "it - isp" | "it - hosting" | "it - security" => Sector::IctServices,
        "health" | "healthcare" | "pharmacy" | "hospitals" => Sector::Health,
        "bank" | "banking" => Sector::Banking,
        "finance" | "financial" | "insurance" => Sector::FinancialMarkets,
        "water" => Sector::Water,
        "government, administration" | "government" | "diplomacy" => Sector::Government,
        "elections" | "political party" => Sector::Elections,
        "civil security" | "emergency services" => Sector::CivilDefence,
        "defense" | "defence" | "military" => Sector::DefenceCivil,
        "agriculture" | "food" => Sector::Food,
        "space" | "aerospace" => Sector::Space,
        "chemical" => Sector::Chemical,
        "nuclear" | "civil nuclear" => Sector::Nuclear,
        "manufacturing" | "industrial" => Sector::Manufacturing,
        "academia - university" | "academia" | "education" | "research - innovation" => Sector::Research,
        "news - media" | "media" => Sector::Media,
        "post" | "postal" => Sector::Postal,
        _ => return None,
    })
}

/// The sector that a word of the STIX industry-sector vocabulary (section 10.10) names.
pub(crate) fn of_stix(word: &str) -> Option<Sector> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "energy" | "utilities" => Sector::Energy,
        "transportation" => Sector::Transport,
        "telecommunications" => Sector::Communications,
        "communications" | "entertainment" => Sector::Media,
        "technology" => Sector::DigitalInfrastructure,
        "healthcare" | "pharmaceuticals" => Sector::Health,
        "financial-services" => Sector::Banking,
        "insurance" => Sector::FinancialMarkets,
        "water" | "dams" => Sector::Water,
        "government" | "government-national" | "government-local" | "government-regional" => Sector::Government,
        "government-public-services" => Sector::StateRegistries,
        "elections" => Sector::Elections,
        "emergency-services" | "government-emergency-services" => Sector::CivilDefence,
        "defense" => Sector::DefenceCivil,
        "agriculture" => Sector::Food,
        "aerospace" => Sector::Space,
        "chemical" => Sector::Chemical,
        "nuclear" => Sector::Nuclear,
        "manufacturing" | "automotive" => Sector::Manufacturing,
        "education" => Sector::Research,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sector_tags_of_several_taxonomies_are_known() {
        let cases = [
            ("nis2:impact-sectors-impacted=\"waste-water\"", Some(Sector::Water)),
            ("dhs-ciip-sectors:DHS-critical-sectors=\"dib\"", Some(Sector::DefenceCivil)),
            ("eu-nis-sector-and-subsectors:eu-nis-oes=\"digitalinfrastructure\"", Some(Sector::DigitalInfrastructure)),
            ("misp-galaxy:sector=\"Government, Administration\"", Some(Sector::Government)),
            ("sector:elections", Some(Sector::Elections)),
            ("vatra:sector=\"space\"", Some(Sector::Space)),
            ("nis2:impact-outlook=\"stable\"", None),
            ("energy", None),
        ];
        for (tag, sector) in cases {
            assert_eq!(of_tag(tag), sector, "{tag}");
        }
        assert_eq!(of_stix("Defense"), Some(Sector::DefenceCivil));
        assert_eq!(of_stix("mining"), None);
    }
}
