// The run of a CI system that has a port, from the owner and the labels that `portmaster` gives it.
//
// Anybody can choose an owner and labels. So nothing of them is a URL: the host is one of two, and each part has to
// look like what it is. Jenkins and hosts of one's own have no link, since nothing here knows their address.

const HOSTS = new Set(['github.com', 'gitlab.com']);
const SEGMENT = /^(?!\.+$)[A-Za-z0-9._-]{1,100}$/;
const NUMBER = /^[0-9]{1,20}$/;

/** @returns {URL|null} */
export function run({ owner, labels = {} }) {
    return github(owner, labels) ?? gitlab(owner, labels);
}

function github(owner, labels) {
    let parts = /^gh\/([^/]+)\/([^/]+)\/([^/]+)\//.exec(owner ?? '')?.slice(1);
    if (labels.ci === 'github') parts ??= [...split(labels.repository), labels.run];
    if (parts?.length !== 3 || !parts.slice(0, 2).every((part) => SEGMENT.test(part)) || !NUMBER.test(parts[2]))
        return null;
    const attempt = NUMBER.test(labels.attempt ?? '') && labels.run === parts[2] ? `/attempts/${labels.attempt}` : '';
    return checked(`https://github.com/${parts[0]}/${parts[1]}/actions/runs/${parts[2]}${attempt}`);
}

function gitlab(owner, labels) {
    let project;
    let pipeline;
    if (labels.ci === 'gitlab') {
        [project, pipeline] = [split(labels.repository), labels.run ?? ''];
    } else {
        const found = /^gl\/(.+?)\/([0-9]+)\//.exec(owner ?? '');
        if (!found) return null;
        [project, pipeline] = [split(found[1]), found[2]];
    }
    if (project.length < 2 || !project.every((part) => SEGMENT.test(part)) || !NUMBER.test(pipeline)) return null;
    return checked(`https://gitlab.com/${project.join('/')}/-/pipelines/${pipeline}`);
}

const split = (text) => (typeof text === 'string' ? text.split('/') : []);

function checked(text) {
    const url = new URL(text);
    return url.protocol === 'https:' && HOSTS.has(url.host) && !url.username ? url : null;
}
