// Signs requests with the action's signer: reads them as JSON, and writes what would be sent.
import { readFileSync } from "node:fs";

import { sign } from "../../integrations/github/src/registry/sign.js";

const [, , region] = process.argv;
const signed = JSON.parse(readFileSync(0, "utf8")).map(
    ({ method, url: text, headers, body, time, token, key, secret }) => {
        const url = new URL(text);
        const keys = {
            accessKeyId: key,
            secretAccessKey: secret,
            sessionToken: token ?? undefined,
        };
        return {
            url: url.href,
            headers: sign(
                { method, url, headers, body },
                keys,
                region,
                new Date(time * 1000),
            ),
        };
    },
);
process.stdout.write(JSON.stringify(signed));
