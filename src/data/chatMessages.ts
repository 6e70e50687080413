import { TierraError } from '../core/errors.ts';

export const chatRoles = ['system', 'user', 'assistant', 'tool'] as const;
export type ChatRole = (typeof chatRoles)[number];

export interface ChatMessage {
  readonly role: ChatRole;
  readonly content: string;
}

const expected =
  'A line of chat data is {"messages":[{"role":"user","content":"..."},{"role":"assistant","content":"..."}]}.';

/** The conversation in one JSONL object. @throws E_DATA that names file, line and message. */
export function chatMessages(value: Readonly<Record<string, unknown>>, where: string): ChatMessage[] {
  const fail = (what: string): never => {
    throw new TierraError('E_DATA', `${where}: ${what}`, { hint: expected });
  };
  const messages = value.messages;
  if (!Array.isArray(messages)) return fail(`no "messages" array (fields: ${Object.keys(value).join(', ') || 'none'})`);
  if (messages.length === 0) return fail('the "messages" array is empty');
  return messages.map((message: unknown, index): ChatMessage => {
    if (typeof message !== 'object' || message === null) return fail(`messages[${index}] is not an object`);
    const { role, content } = message as Readonly<Record<string, unknown>>;
    if (role === undefined) return fail(`messages[${index}] has no role`);
    if (!chatRoles.includes(role as ChatRole)) {
      return fail(`messages[${index}] has the role ${JSON.stringify(role)}, expected one of ${chatRoles.join(', ')}`);
    }
    if (content === undefined || content === null) return fail(`messages[${index}] (${role}) has no content`);
    if (typeof content !== 'string') return fail(`messages[${index}] (${role}) has content that is not a string`);
    return { role: role as ChatRole, content };
  });
}
