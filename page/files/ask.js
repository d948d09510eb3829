// A question before anything is changed.

import { byId } from './dom.js';

/**
 * Asks, and does it if the answer is yes. The dialog stays open with the problem if that fails.
 *
 * @param {{title: string, text: string, yes: string, act: () => Promise<void>}} question
 * @returns {Promise<boolean>} whether it was done
 */
export function ask({ title, text, yes, act }) {
    const [dialog, no, sure, problem] = ['ask', 'ask-no', 'ask-yes', 'ask-problem'].map(byId);
    byId('ask-title').textContent = title;
    byId('ask-text').textContent = text;
    sure.textContent = yes;
    problem.hidden = true;
    sure.disabled = false;
    return new Promise((resolve) => {
        let done = false;
        const stop = new AbortController();
        const listen = (element, event, listener) => element.addEventListener(event, listener, { signal: stop.signal });
        listen(no, 'click', () => dialog.close());
        listen(sure, 'click', async () => {
            sure.disabled = true;
            try {
                await act();
                done = true;
                dialog.close();
            } catch (error) {
                problem.textContent = error.message;
                problem.hidden = false;
                sure.disabled = false;
            }
        });
        // Also when the Escape key closes it. The browser has given the focus back before this event comes, and the
        // user may have moved it since.
        listen(dialog, 'close', () => {
            stop.abort();
            resolve(done);
        });
        dialog.showModal();
        // Whoever presses Enter too early does no harm.
        no.focus();
    });
}
